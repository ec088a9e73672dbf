// How a product of one to four rows is spread over Hopper's multiprocessors, and where things lie in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/vec/box_plan.h"

namespace mlx_native::cuda {

/// Slabs of 16 rows of W go through a ring in shared memory in steps of `step_units` units of 256 columns, of which
/// each of a team's kStreamWarps warps takes one; slabs whose rows are short go several at a time. A warp adds up its
/// units of a slab in their order, and the warps' sums are added in theirs: so a row of the result has the same bits in
/// every call.
struct StreamPlan {
  WeightMap map[VecPlan::kMostTargets];
  bool boxes;  // of 16 rows are copied by `map`, instead of single rows
  VecPlan::Target target[VecPlan::kMostTargets];
  std::uint32_t targets;
  const float* input;
  // As FusedMatmulArgs (args/fused.h) has them. With `gated`, the second product is target[1], `targets` is 1, and a
  // slab is both products' rows.
  const float* norm;
  float* normed;
  float* gated;
  const float* residual;
  float* sum;
  float eps;
  std::uint64_t row_bytes;
  std::uint32_t m, k, units;
  std::uint32_t step_units, step_slabs_log2;  // the first a power of two; their product is kStreamWarps
  std::uint32_t box_units_log2;               // of a box, or all of a step
  std::uint32_t slabs;                        // in all
  std::uint32_t pitch;                        // bytes between rows in the ring
  std::uint32_t stage_bytes, stages;          // the latter a multiple of the teams
  std::uint32_t ahead, early;                 // stages that are on their way at a time; until x is split
  std::uint32_t x_stride;                     // bytes between columns of x
  // Offsets in shared memory, which begins with the barriers and the ring.
  std::uint32_t partials_at, factors_at, sums_at, x_at, shared_bytes;
};

/// Teams of warps of a group take turns. Besides them, some load.
constexpr std::uint32_t kStreamTeams = 2, kStreamWarps = 8, kStreamLoaders = 2, kMostStages = 12;
constexpr int kStreamThreads = 32 * (kStreamTeams * kStreamWarps + kStreamLoaders);

/// Rows of x whose columns there is room for: of one those of two.
template <int kRows>
constexpr int kStoredRows = kRows == 1 ? 2 : kRows;

/// What a plan depends on besides the problem.
struct StreamShape {
  std::uint32_t rows, planes, columns;          // of x, of a row of x, of products
  std::uint32_t row_bytes, x_bytes, sum_bytes;  // of a unit: of a row of W, of a column of x, of all sums
  bool aligned;
};

/// Two plans of products of the same x by formats of their own, done by one launch.
struct StreamPair {
  StreamPlan plan[2];
  std::uint32_t groups;  // of the first
};

inline void set_steps(StreamPlan& plan) {
  plan.step_units = kStreamWarps;
  plan.step_slabs_log2 = 0;
  while (plan.step_units / 2 >= plan.units) plan.step_units /= 2, ++plan.step_slabs_log2;
}
static_assert(kStreamWarps == 8);

/// Completes a plan whose pointers and sizes are set, with at most `most_stages`. Returns whether `bytes` of shared
/// memory are enough.
inline bool spread(StreamPlan& plan, const StreamShape& shape, std::size_t bytes,
                   std::uint32_t most_stages = kMostStages) {
  set_steps(plan);
  plan.box_units_log2 = 3 - plan.step_slabs_log2;
  const auto pitch = [&] { return ring_pitch(1u << plan.box_units_log2, shape.row_bytes, shape.aligned); };
  while (plan.boxes && pitch() > 256 * kMapUnit) --plan.box_units_log2;
  plan.pitch = pitch();
  plan.stage_bytes = (kStreamWarps >> plan.box_units_log2) * 16 * plan.pitch;
  plan.x_stride = plan.units * shape.x_bytes + 64;
  RingRoom room;
  // Two turns' of each team.
  plan.partials_at = room.take((plan.gated ? 4 : 2) * kStreamTeams * kStreamWarps * 16 * shape.rows * sizeof(float));
  plan.factors_at = room.take(plan.units * shape.columns * sizeof(float));
  plan.sums_at = room.take(plan.units * shape.sum_bytes);
  plan.x_at = room.take(std::size_t{shape.planes} * plan.m * plan.x_stride);
  room.leave(256);  // columns that are none are read too
  if (!room.put_ring(plan, bytes, {.fewest = kStreamTeams + 1, .most = most_stages, .teams = kStreamTeams},
                     {&plan.partials_at, &plan.factors_at, &plan.sums_at, &plan.x_at}))
    return false;
  plan.early = plan.ahead = stages_ahead(plan, 48 << 10);
  return true;
}

}  // namespace mlx_native::cuda
