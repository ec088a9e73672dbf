// How few rows of x, each routed to some experts, are spread over Hopper's multiprocessors, and where things lie in
// shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/tensor/weight_map.h"
#include "cuda/vec/box_plan.h"
#include "cuda/vec/ring.h"

namespace mlx_native::cuda {

/// Divides by what the host knows, in a few instructions.
struct Divisor {
  std::uint32_t divisor, inverse;
  static Divisor of(std::uint32_t n) { return {n, UINT32_MAX / n}; }
  __device__ __forceinline__ std::uint32_t operator()(std::uint32_t x) const {
    const std::uint32_t quotient = __umulhi(x, inverse);  // or one less
    return quotient + (x - quotient * divisor >= divisor ? 1 : 0);
  }
};

/// As BoxPlan, but a slab is 16 rows of a slot's expert, and has one row of x.
struct RoutedPlan {
  WeightMap map[VecPlan::kMostTargets];
  bool whole;  // slabs of `weight` are copied as they lie, instead of boxes of `map`: a stage has whole rows
  const std::uint8_t* weight[VecPlan::kMostTargets];
  std::uint64_t expert_stride;
  float* output[VecPlan::kMostTargets];
  std::uint32_t targets;  // of one shape
  // As FusedMatmulIdArgs has it (args/fused.h). If there, there are two targets, and a slab is both products' rows.
  float* gated;
  const float* input;
  const std::uint32_t* ids;
  bool wait;     // for the kernel before, before ids and weights are read
  bool settles;  // the next kernel starts when all before this one is done
  std::uint32_t tokens, top_k, n_experts, n, k, units;
  std::uint32_t slot_rows;  // n, rounded up to slabs
  Divisor by_slot_slabs, by_top_k, by_units;
  std::uint32_t step_units_log2, step_slabs_log2;  // together kRoutedWarps
  std::uint32_t slabs;                             // in all
  std::uint32_t each, more;                        // steps of a group, and groups that have another one
  std::uint32_t pitch;                             // bytes between rows in the ring
  std::uint32_t stage_bytes, stages;
  std::uint32_t x_stride;  // bytes between columns of x
  // Offsets in shared memory, which begins with the barriers and the ring.
  std::uint32_t partials_at, factors_at, sums_at, x_at, shared_bytes;
};

constexpr std::uint32_t kRoutedWarps = 8, kRoutedSlots = 4, kRoutedStages = 10;
/// Stages that are on their way at a time: behind more x would wait.
constexpr std::uint32_t kRoutedAhead = 2;

/// What a plan depends on besides the problem.
struct RoutedShape {
  std::uint32_t columns;                        // of products of a row of x
  std::uint32_t planes;                         // columns that are stored
  std::uint32_t row_bytes, x_bytes, sum_bytes;  // of a unit: of a row of W, of a column of x, of all sums
  bool aligned;
};

/// Deals steps of eight warps, a unit of a slab each: as many units as a box can have, or all of a row.
inline void set_steps(RoutedPlan& plan, const RoutedShape& shape) {
  std::uint32_t units = kRoutedWarps;
  const auto pitch = [&] {
    return plan.whole ? plan.units * shape.row_bytes : ring_pitch(units, shape.row_bytes, shape.aligned);
  };
  plan.step_units_log2 = 3;
  while (units / 2 >= plan.units || (!plan.whole && pitch() > 256 * kMapUnit)) units /= 2, --plan.step_units_log2;
  plan.step_slabs_log2 = 3 - plan.step_units_log2;
  plan.pitch = pitch();
  plan.stage_bytes = (16 << plan.step_slabs_log2) * plan.pitch;
}
static_assert(kRoutedWarps == 8);

/// Completes a plan whose pointers and sizes are set. Returns whether `bytes` of shared memory are enough for it and a
/// ring of `fewest` stages. groups: at most.
inline bool spread(RoutedPlan& plan, const RoutedShape& shape, std::uint32_t groups, std::size_t bytes,
                   std::uint32_t fewest) {
  set_steps(plan, shape);
  plan.x_stride = plan.units * shape.x_bytes + 64;
  RingRoom room;
  // A group has neighbouring slabs, and rows of x for these alone.
  const std::uint64_t items = ((plan.slabs - 1) >> plan.step_slabs_log2) + 1;
  const std::uint64_t own_slabs = ((items - 1) / groups + 1) << plan.step_slabs_log2;
  const std::uint64_t token_slabs = std::uint64_t{plan.top_k} * (plan.slot_rows / 16);
  const std::uint64_t rows = std::min<std::uint64_t>(plan.tokens, (own_slabs - 1) / token_slabs + 2);
  const std::size_t x_units = rows * plan.units;
  plan.partials_at = room.take(kRoutedSlots * kRoutedWarps * 16 * sizeof(float));
  plan.factors_at = room.take(x_units * shape.columns * sizeof(float));
  plan.sums_at = room.take(x_units * shape.sum_bytes);
  plan.x_at = room.take(std::size_t{shape.planes} * rows * plan.x_stride);
  room.leave(256);  // columns that are none are read too
  return room.put_ring(plan, bytes, {.fewest = fewest, .most = kRoutedStages},
                       {&plan.partials_at, &plan.factors_at, &plan.sums_at, &plan.x_at});
}

}  // namespace mlx_native::cuda
