// How a product of three to eight rows is spread over Hopper's multiprocessors, and where things lie in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/tensor/weight_map.h"
#include "cuda/vec/plan.h"
#include "cuda/vec/ring.h"

namespace mlx_native::cuda {

/// Slabs of 16 rows of W go through a ring in shared memory in steps of `step_units` units of 256 columns, of which
/// each of a team's warps takes one; slabs whose rows are short go several at a time. A warp adds up its units of a
/// slab in their order, and the warps' sums are added in theirs: so a row of the result has the same bits in every
/// call.
struct BoxPlan {
  WeightMap map[VecPlan::kMostTargets];
  VecPlan::Target target[VecPlan::kMostTargets];
  std::uint32_t targets;
  const float* input;
  std::uint32_t m, k, units;
  std::uint32_t step_units_log2, step_slabs_log2;  // together a team's warps
  std::uint32_t slabs;                             // in all
  std::uint32_t pitch;                             // bytes between rows in the ring
  std::uint32_t stage_bytes, stages;               // the latter a multiple of the teams
  std::uint32_t x_stride;                          // bytes between columns of x
  // Offsets in shared memory, which begins with the barriers and the ring.
  std::uint32_t partials_at, factors_at, x_at, shared_bytes;
};

/// What a plan depends on besides the problem.
struct BoxShape {
  std::uint32_t rows;                        // of x, padded
  std::uint32_t row_bytes, x_bytes, x_skew;  // of a unit: of a row of W, of a column of x; between columns, modulo 128
  bool aligned;
};

constexpr std::uint32_t kBoxTeams = 2, kBoxTeamWarps = 8, kBoxStages = 10, kBoxSlots = 2 * kBoxTeams;
constexpr std::uint32_t kMapUnit = 8;  // bytes that boxes are counted in, of which they have at most 256

/// Deals steps of eight warps, a unit of a slab each: as many units as a box can have.
void set_box_steps(auto& plan, const auto& shape) {
  std::uint32_t units = 8;
  const auto pitch = [&] { return ring_pitch(units, shape.row_bytes, shape.aligned); };
  plan.step_units_log2 = 3;
  while (units / 2 >= plan.units || pitch() > 256 * kMapUnit) units /= 2, --plan.step_units_log2;
  plan.step_slabs_log2 = 3 - plan.step_units_log2;
  plan.pitch = pitch();
  plan.stage_bytes = (16 << plan.step_slabs_log2) * plan.pitch;
}
static_assert(kBoxTeamWarps == 8);

/// Completes a plan whose pointers and sizes are set. Returns whether `bytes` of shared memory are enough for it and a
/// ring of `fewest` stages.
inline bool spread(BoxPlan& plan, const BoxShape& shape, std::size_t bytes, std::uint32_t fewest) {
  set_box_steps(plan, shape);
  plan.x_stride = (plan.units * shape.x_bytes + 127) / 128 * 128 + shape.x_skew;
  RingRoom room;
  plan.partials_at = room.take(kBoxSlots * kBoxTeamWarps * 16 * shape.rows * sizeof(float));
  plan.factors_at = room.take(plan.units * shape.rows * sizeof(float));
  plan.x_at = room.take(std::size_t{2} * plan.m * plan.x_stride);
  return room.put_ring(plan, bytes, {.fewest = fewest, .most = kBoxStages, .teams = kBoxTeams},
                       {&plan.partials_at, &plan.factors_at, &plan.x_at});
}

}  // namespace mlx_native::cuda
