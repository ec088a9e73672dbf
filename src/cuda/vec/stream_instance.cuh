// Launches of stream_kernel. Included by the generated translation units alone.
#pragma once

#include <algorithm>

#include "cuda/vec/box_instance.cuh"
#include "cuda/vec/families.h"
#include "cuda/vec/stream.cuh"
#include "cuda/vec/targets.h"
#include "gpu/launch/matmul.h"

namespace mlx_native::cuda {

inline FusedMatmulArgs fused(const MatmulArgs& a) {
  FusedMatmulArgs all{};
  all.product = a;
  return all;
}
inline const FusedMatmulArgs& fused(const FusedMatmulArgs& a) { return a; }

/// The family of what is launched, product or fused product, of another format.
template <class Format, class Args>
using StreamOf = std::conditional_t<std::is_same_v<Args, MatmulArgs>, VecStream<Format>, VecStreamFused<Format>>;

/// What is mostly found beside a format in one file, for some of the weights of a layer.
template <class Format>
using StreamPartner = std::conditional_t<std::is_same_v<Format, Q4_K> || std::is_same_v<Format, Q5_K>, Q6_K, void>;

extern template struct VecStream<Q6_K>;
extern template struct VecStreamFused<Q6_K>;

template <class Format, int kRows>
constexpr StreamShape stream_shape() {
  using U = DigitUnit<Format>;
  constexpr std::uint32_t kColumns = kPlanes * kStoredRows<kRows>;
  return {.rows = kRows,
          .planes = kPlanes,
          .columns = kColumns,
          .row_bytes = U::kRowBytes,
          .x_bytes = U::kXBytes,
          .sum_bytes = U::kSumBytes * kColumns,
          .aligned = U::kAligned};
}

/// The first of the products by one format: false where rows cannot be copied.
template <class Format>
bool begin_plan(StreamPlan& plan, const FusedMatmulArgs& a) {
  const MatmulArgs& product = a.product;
  plan = {};
  plan.input = product.input, plan.row_bytes = product.row_bytes;
  plan.m = product.m, plan.k = product.k, plan.units = product.k / 256;
  plan.norm = a.norm, plan.normed = a.normed, plan.eps = a.eps;
  plan.gated = a.gated, plan.residual = a.residual, plan.sum = a.sum;
  using U = DigitUnit<Format>;
  if (!can_load(product.input) || !can_load(a.norm) || !can_load(a.normed)) return false;
  if (!rows_align<U>(product.weight, product.row_bytes, 0) || !rows_align<U>(a.up, 0, 0)) return false;
  if (!add_target(plan, product, 1)) return false;
  plan.boxes = can_copy_rows(product.weight, product.row_bytes, 0) && can_copy_rows(a.up, 0, 0);
  plan.target[1] = {a.up, a.up_output, product.n, plan.target[0].slot_slabs, 0};
  return true;
}

/// Adds those that follow in `calls`, as many as are by `entry` and have the same x. Returns how many.
template <class Format, class Args>
std::size_t add_alike(StreamPlan& plan, std::span<const Call> calls, decltype(Call::entry) entry) {
  std::size_t count = 0;
  if (plan.gated || plan.sum) return 0;
  for (const Call& call : calls) {
    if (call.entry != entry) break;
    const FusedMatmulArgs b = fused(*static_cast<const Args*>(call.args));
    const MatmulArgs& product = b.product;
    if (b.up || b.sum || b.normed || b.norm != plan.norm || b.eps != plan.eps || product.input != plan.input ||
        product.k != plan.k || product.m != plan.m || product.row_bytes != plan.row_bytes ||
        !rows_align<DigitUnit<Format>>(product.weight, product.row_bytes, 0) ||
        can_copy_rows(product.weight, product.row_bytes, 0) != plan.boxes || !add_target(plan, product, 1))
      break;
    ++count;
  }
  return count;
}

inline std::uint32_t items_of(const StreamPlan& plan) { return ((plan.slabs - 1) >> plan.step_slabs_log2) + 1; }

/// Whether the kernel may begin to read weights before the one before it ends.
inline bool may_begin(const Launch& on, const StreamPlan& plan) {
  return !has_new_weights(on, plan) &&
         !(on.is_new && ((plan.gated && on.is_new(plan.target[1].weight)) || (plan.norm && on.is_new(plan.norm))));
}

/// As spread() for so many groups, by boxes only where a group has so many stages that they make up for the maps, which
/// the copy engine must ask for first. What a group with several turns of several steps does not need of shared memory
/// is left to the kernel behind, if that is small; with fewer it had better begin later.
template <class Format, int kRows>
bool spread_stream(StreamPlan& plan, const Machine& machine, std::uint32_t groups) {
  constexpr std::uint32_t kFewestOfBoxes = 8;
  set_steps(plan);
  const std::uint32_t turns = (items_of(plan) - 1) / groups + 1;
  const std::uint32_t turn_stages = ((plan.units - 1) / plan.step_units + 1) * (plan.gated ? 2 : 1);
  plan.boxes = plan.boxes && turns * turn_stages >= kFewestOfBoxes;
  const std::uint32_t team_turns = (turns - 1) / kStreamTeams + 1;
  const std::uint32_t needed = turns > 1 && turn_stages > 1 ? kStreamTeams * team_turns * turn_stages : kMostStages;
  if (!spread(plan, stream_shape<Format, kRows>(), machine.shared_bytes, std::min(kMostStages, needed))) return false;
  // Attention, which comes before, takes longer than these weights, and its loads wait for what is on its way.
  if (plan.sum && turns * turn_stages <= plan.stages) plan.early = plan.ahead = 1;
  return true;
}

inline cudaError_t map_boxes(StreamPlan& plan) {
  cudaError_t status = cudaSuccess;
  for (std::uint32_t i = 0; i < (plan.gated ? 2 : plan.targets) && plan.boxes && status == cudaSuccess; ++i)
    status = map_weights(plan.map[i], plan.target[i].weight, plan.row_bytes, plan.target[i].n, 1, 0, 16, plan.pitch,
                         kMapUnit);
  return status;
}

/// False where there is too little shared memory.
template <class Format, int kRows>
bool launch_stream(Launch& on, StreamPlan plan) {
  if (!spread_stream<Format, kRows>(plan, on.machine, on.machine.multiprocessors)) return false;
  if (on.status == cudaSuccess) on.status = map_boxes(plan);
  on.start(reinterpret_cast<const void*>(&stream_kernel<Format, kRows>),
           {std::min(on.machine.multiprocessors, items_of(plan)), kStreamThreads, plan.shared_bytes}, &plan,
           may_begin(on, plan));
  return true;
}

/// Deals groups, at most `most`, to both, so that they are done at about the same time and none is without work.
/// Returns how many there are.
inline std::uint32_t deal_groups(StreamPair& pair, std::uint32_t most) {
  const std::uint32_t items[2] = {items_of(pair.plan[0]), items_of(pair.plan[1])};
  const auto bytes = [&](int i, std::uint32_t groups) {
    return ((items[i] - 1) / groups + 1 << pair.plan[i].step_slabs_log2) * pair.plan[i].row_bytes;
  };
  const auto second = [&](std::uint32_t first) { return std::min(most - first, items[1]); };
  const auto longest = [&](std::uint32_t first) { return std::max(bytes(0, first), bytes(1, second(first))); };
  pair.groups = 1;
  for (std::uint32_t first = 2; first <= std::min(most - 1, items[0]); ++first)
    if (longest(first) < longest(pair.groups)) pair.groups = first;
  return pair.groups + second(pair.groups);
}

template <class First, class Second, int kRows>
bool launch_pair(Launch& on, StreamPair pair) {
  StreamPlan &first = pair.plan[0], &second = pair.plan[1];
  if (on.machine.multiprocessors < 2) return false;
  set_steps(first), set_steps(second);
  const std::uint32_t groups = deal_groups(pair, on.machine.multiprocessors);
  if (!spread_stream<First, kRows>(first, on.machine, pair.groups) ||
      !spread_stream<Second, kRows>(second, on.machine, groups - pair.groups))
    return false;
  // x, which is normed here, waits for what is on its way.
  first.early = second.early = 1;
  if (on.status == cudaSuccess) on.status = map_boxes(first);
  if (on.status == cudaSuccess) on.status = map_boxes(second);
  on.start(reinterpret_cast<const void*>(&stream_pair_kernel<First, Second, kRows>),
           {groups, kStreamThreads, std::max(first.shared_bytes, second.shared_bytes)}, &pair,
           may_begin(on, first) && may_begin(on, second));
  return true;
}

/// Whether `plan` and products by the partner's format, which follow it, were launched.
template <class Format, class Args>
bool launch_with_partner(Launch& on, const StreamPlan& plan) {
  using Partner = StreamPartner<Format>;
  if constexpr (!std::is_void_v<Partner>) {
    const auto rest = on.followers.subspan(on.taken);
    constexpr auto kEntry = entry_of<StreamOf<Partner, Args>>;
    if (plan.gated || plan.sum || plan.m > 2 || rest.empty() || rest[0].entry != kEntry) return false;
    const FusedMatmulArgs first = fused(*static_cast<const Args*>(rest[0].args));
    StreamPair pair{.plan = {plan, {}}, .groups = 0};
    StreamPlan& other = pair.plan[1];
    if (first.up || first.sum || first.normed || first.norm != plan.norm || first.eps != plan.eps ||
        first.product.input != plan.input || first.product.k != plan.k || first.product.m != plan.m ||
        !begin_plan<Partner>(other, first))
      return false;
    const std::size_t before = on.taken;
    on.taken += 1 + add_alike<Partner, Args>(other, rest.subspan(1), kEntry);
    if (plan.m == 1 ? launch_pair<Format, Partner, 1>(on, pair) : launch_pair<Format, Partner, 2>(on, pair))
      return true;
    on.taken = before;
  }
  return false;
}

/// False where the kernel cannot do it.
template <class Format, class Args>
bool launch_streams(Launch& on, const Args& args) {
  StreamPlan plan;
  if (!on.machine.hopper || !begin_plan<Format>(plan, fused(args))) return false;
  on.taken = add_alike<Format, Args>(plan, on.followers, on.call.entry);
  if (launch_with_partner<Format, Args>(on, plan)) return true;
  return plan.m == 1   ? launch_stream<Format, 1>(on, plan)
         : plan.m == 2 ? launch_stream<Format, 2>(on, plan)
                       : launch_stream<Format, 4>(on, plan);
}

template <class Format>
void VecStream<Format>::launch(Launch& on, const Args& a) {
  if (VecBox<Format, 2>::supports(a)) return launch_box<BoxOf<Format, 2, false>>(on, a);
  if (launch_streams<Format>(on, a)) return;
  on.taken = 0;
  if constexpr (kHasOwnUnit<Format>)
    VecProduct<Format>::launch(on, a);
  else
    run_family<gpu::MatVec<Format>>(&a, &on);
}

template <class Format>
bool VecStreamFused<Format>::supports(const Args& a) {
  if (VecBox<Format, 2>::supports(a.product)) return !a.norm && !a.up;
  StreamPlan plan;
  if (!VecStream<Format>::supports(a.product) || !begin_plan<Format>(plan, a)) return false;
  constexpr std::size_t kHopperBytes = 227 << 10;
  return a.product.m <= 2 ? spread(plan, stream_shape<Format, 2>(), kHopperBytes)
                          : spread(plan, stream_shape<Format, 4>(), kHopperBytes);
}

template <class Format>
void VecStreamFused<Format>::launch(Launch& on, const Args& a) {
  if (VecBox<Format, 2>::supports(a.product))
    return launch_box<BoxOf<Format, 2, false>>(on, a.product, a.residual, a.sum);
  if (!launch_streams<Format>(on, a) && on.status == cudaSuccess) on.status = cudaErrorInvalidConfiguration;
}

}  // namespace mlx_native::cuda
