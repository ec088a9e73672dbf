// Launches of routed_kernel. Included by the generated translation units alone.
#pragma once

#include <algorithm>
#include <optional>

#include "cuda/vec/families.h"
#include "cuda/vec/routed.cuh"
#include "cuda/vec/targets.h"
#include "gpu/launch/matmul.h"

namespace mlx_native::cuda {

/// A product's plan with its targets, all of one shape.
inline RoutedPlan routed_plan(const MatmulIdArgs& a, const VecPlan& all) {
  RoutedPlan plan{};
  for (std::uint32_t i = 0; i < all.targets; ++i)
    plan.output[i] = all.target[i].output, plan.weight[i] = all.target[i].weight;
  plan.whole = a.row_bytes % 16 != 0, plan.expert_stride = a.expert_stride;
  plan.targets = all.targets, plan.input = a.input, plan.ids = a.ids;
  plan.tokens = a.n_tokens, plan.top_k = a.top_k, plan.n_experts = a.n_experts;
  plan.n = a.n, plan.k = a.k, plan.units = all.units, plan.slabs = all.slabs;
  plan.slot_rows = 16 * all.target[0].slot_slabs;
  return plan;
}

/// Groups of a launch, at most. Where weights wait for the kernel before, or take long enough, it has two on a
/// multiprocessor, instead of room for the next kernel's.
inline std::uint32_t routed_groups(const RoutedPlan& plan, const Machine& machine) {
  return machine.multiprocessors * (plan.wait || plan.tokens > 1 ? 2 : 1);
}

/// As spread(), so that there is room for two groups on a multiprocessor if possible.
template <class Format>
bool spread_routed(RoutedPlan& plan, const Machine& machine) {
  using U = DigitUnit<Format>;
  constexpr std::uint32_t kColumns = DigitColumns<1>::columns, kFewestStages = 3;
  constexpr RoutedShape kShape{.columns = kColumns,
                               .planes = kPlanes,
                               .row_bytes = U::kRowBytes,
                               .x_bytes = U::kXBytes,
                               .sum_bytes = U::kSumBytes * kColumns,
                               .aligned = U::kAligned};
  return spread(plan, kShape, routed_groups(plan, machine), share_of(machine, 2), kFewestStages) ||
         spread(plan, kShape, machine.multiprocessors, machine.shared_bytes, kFewestStages);
}

/// False where there is too little shared memory.
template <class Format>
bool start_routed(Launch& on, const MatmulIdArgs& a, const VecPlan& all, RoutedPlan plan) {
  plan.wait = (on.is_open && on.is_open(a.ids)) || has_new_weights(on, all);
  if (!spread_routed<Format>(plan, on.machine)) return false;
  for (std::uint32_t i = 0; i < plan.targets && !plan.whole && on.status == cudaSuccess; ++i)
    on.status = map_weights(plan.map[i], all.target[i].weight, a.row_bytes, a.n, a.n_experts, a.expert_stride, 16,
                            plan.pitch, kMapUnit);
  plan.settles = plan.wait, on.settles = plan.settles && on.may_overlap;
  const std::uint32_t items = ((plan.slabs - 1) >> plan.step_slabs_log2) + 1;
  const std::uint32_t groups = std::min(
      plan.shared_bytes <= share_of(on.machine, 2) ? routed_groups(plan, on.machine) : on.machine.multiprocessors,
      items);
  plan.each = items / groups, plan.more = items % groups;
  plan.by_slot_slabs = Divisor::of(plan.slot_rows / 16), plan.by_top_k = Divisor::of(plan.top_k);
  plan.by_units = Divisor::of(plan.units);
  on.start(reinterpret_cast<const void*>(&routed_kernel<Format>), {groups, 32 * (kRoutedWarps + 2), plan.shared_bytes},
           &plan, true);
  return true;
}

/// False where there is too little shared memory.
template <class Format>
bool launch_routed(Launch& on, const MatmulIdArgs& a) {
  const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k;
  VecPlan all = vec_plan(a);
  if (!on.machine.hopper || !add_target(all, a, slots)) return false;
  add_followers(on, all, a, slots, [&](const MatmulIdArgs& b) {
    return b.ids == a.ids && b.n_tokens == a.n_tokens && b.top_k == a.top_k && b.n_experts == a.n_experts &&
           b.n == a.n && b.expert_stride == a.expert_stride;
  });
  return start_routed<Format>(on, a, all, routed_plan(a, all));
}

/// Both products' plan; none where there are too many slabs.
inline std::optional<RoutedPlan> gated_plan(const FusedMatmulIdArgs& a, VecPlan& all) {
  MatmulIdArgs second = a.product;
  second.weight = a.up, second.output = a.up_output;
  all = vec_plan(a.product);
  const std::uint64_t slots = std::uint64_t{a.product.n_tokens} * a.product.top_k;
  if (!add_target(all, a.product, slots)) return {};
  const std::uint32_t slabs = all.slabs;
  if (!add_target(all, second, slots)) return {};
  RoutedPlan plan = routed_plan(a.product, all);
  plan.gated = a.gated, plan.slabs = slabs;
  return plan;
}

template <class Format>
bool VecRoutedStreamFused<Format>::supports(const Args& a) {
  VecPlan all;
  auto plan = gated_plan(a, all);
  constexpr Machine kHopper{.multiprocessors = 132, .shared_bytes = 227 << 10, .hopper = true};
  return VecRoutedStream<Format>::supports(a.product) && can_copy_rows(a.up, 0, 0) && plan &&
         spread_routed<Format>(*plan, kHopper);
}

template <class Format>
void VecRoutedStreamFused<Format>::launch(Launch& on, const Args& a) {
  VecPlan all;
  const auto plan = gated_plan(a, all);
  if (!(on.machine.hopper && plan && start_routed<Format>(on, a.product, all, *plan)) && on.status == cudaSuccess)
    on.status = cudaErrorInvalidConfiguration;
}

template <class Format>
void VecRoutedStream<Format>::launch(Launch& on, const Args& a) {
  if (launch_routed<Format>(on, a)) return;
  on.taken = 0;
  if constexpr (kHasOwnUnit<Format>)
    VecRouted<Format>::launch(on, a);
  else
    run_family<gpu::MatVecId<Format>>(&a, &on);
}

}  // namespace mlx_native::cuda
