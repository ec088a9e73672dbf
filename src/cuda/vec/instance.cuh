// Launches of the kernels of cuda/vec. Included by the generated translation units alone.
#pragma once

#include <algorithm>

#include "cuda/vec/box_instance.cuh"
#include "cuda/vec/clusters.h"
#include "cuda/vec/families.h"
#include "cuda/vec/mat_vec.cuh"
#include "cuda/vec/routed_instance.cuh"
#include "cuda/vec/stream_instance.cuh"
#include "cuda/vec/targets.h"
#include "gpu/launch/matmul.h"

namespace mlx_native::cuda {

/// False where this kernel has too little shared memory for the problem, or runs nowhere.
template <class Format, int T, int kWarps, bool kRouted>
bool launch_vec(Launch& on, VecPlan plan) {
  using U = Unit<Format>;
  // Two units of a ring, of eight warps or more, are the 40 KB that must be on their way to a multiprocessor.
  constexpr int kStages = 2;
  constexpr VecShape kShape{4 * T, kWarps, kStages, kPitchOf<U>, U::kXBytes, U::kSkew, kRouted};
  const auto* const kernel = reinterpret_cast<const void*>(&vec_kernel<Format, T, kWarps, kStages, kRouted>);
  Grid grid{0, 32 * kWarps};
  const std::uint32_t parts = vec_parts(plan.units);
  // The fewest groups a cluster whose shared memory holds x.
  while (grid.shared_bytes = spread(plan, kShape, grid.cluster), grid.shared_bytes > on.machine.shared_bytes) {
    grid.cluster *= 2;
    if (kRouted || !on.machine.hopper || parts % grid.cluster != 0) return false;
  }
  const std::uint32_t teams = std::min(clusters_at_once(on, kernel, grid), plan.slabs);
  if (teams == 0) return false;
  plan.rounds = (plan.slabs - 1) / (teams * plan.row_groups) + 1;
  grid.groups = teams * grid.cluster;
  on.start(kernel, grid, &plan, kRouted || !has_new_weights(on, plan));
  return true;
}

/// By many warps where shared memory allows. Halfs need no decoding: fewer warps are enough, and their rows are longer.
template <class Format, int T>
bool launch_dense(Launch& on, const VecPlan& plan) {
  if constexpr (!Format::kPlain)
    if (launch_vec<Format, T, 16, false>(on, plan)) return true;
  return launch_vec<Format, T, 8, false>(on, plan);
}

template <class Format>
void VecProduct<Format>::launch(Launch& on, const Args& a) {
  const auto common = [&] {
    on.taken = 0;
    run_family<gpu::MatVec<Format>>(&a, &on);
  };
  if (!rows_align<Unit<Format>>(a.weight, a.row_bytes, 0)) return common();
  VecPlan plan = vec_plan(a);
  if (!add_target(plan, a, 1)) return common();
  plan.m = std::min(a.m, 16u);
  if (a.m <= 16)
    add_followers(on, plan, a, 1,
                  [&](const Args& b) { return b.m == a.m && rows_align<Unit<Format>>(b.weight, 0, 0); });
  for (std::uint32_t done = 0;;) {
    if (plan.m > 8 && !launch_dense<Format, 4>(on, plan)) plan.m = 8;
    if (plan.m > 4 && plan.m <= 8 && !launch_dense<Format, 2>(on, plan)) plan.m = 4;
    for (; plan.m <= 4 && !launch_dense<Format, 1>(on, plan); plan.m /= 2)
      if (plan.m == 1) return common();
    done += plan.m;
    if (done == a.m) return;
    plan.input += std::uint64_t{plan.m} * a.k;
    for (std::uint32_t i = 0; i < plan.targets; ++i) plan.target[i].output += std::uint64_t{plan.m} * plan.target[i].n;
    plan.m = std::min(a.m - done, 16u);
  }
}

template <class Format>
void VecRouted<Format>::launch(Launch& on, const Args& a) {
  const auto common = [&] {
    on.taken = 0;
    run_family<gpu::MatVecId<Format>>(&a, &on);
  };
  const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k;
  VecPlan plan = vec_plan(a);
  if (!rows_align<Unit<Format>>(a.weight, a.row_bytes, a.expert_stride) || !add_target(plan, a, slots)) return common();
  plan.ids = a.ids, plan.expert_stride = a.expert_stride, plan.top_k = a.top_k, plan.n_experts = a.n_experts;
  plan.m = 1;
  add_followers(on, plan, a, slots, [&](const Args& b) {
    return b.ids == a.ids && b.n_tokens == a.n_tokens && b.top_k == a.top_k && b.n_experts == a.n_experts &&
           b.expert_stride == a.expert_stride && rows_align<Unit<Format>>(b.weight, 0, 0);
  });
  if (!launch_vec<Format, 1, 8, true>(on, plan)) common();
}

}  // namespace mlx_native::cuda
