// How a product of one to four rows is spread over Hopper's multiprocessors, and where things lie in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/vec/plan.h"
#include "cuda/vec/ring.h"

namespace mlx_native::cuda {

/// Slabs of 16 rows of W go through a ring in shared memory in steps of `step_units` units of 256 columns, of which
/// each of a team's kStreamWarps warps takes one; slabs whose rows are short go several at a time. A warp adds up its
/// units of a slab in their order, and the warps' sums are added in theirs: so a row of the result has the same bits in
/// every call.
struct StreamPlan {
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
  std::uint32_t slabs;                        // in all
  std::uint32_t pitch;                        // bytes between rows in the ring
  std::uint32_t stage_bytes, stages;          // the latter a multiple of the teams
  std::uint32_t ahead;                        // stages that are on their way at a time
  std::uint32_t batch;     // rounds whose sums are put together at a time; likewise, and a power of two
  std::uint32_t x_stride;  // bytes between columns of x
  // Offsets in shared memory, which begins with the barriers and the ring.
  std::uint32_t partials_at, factors_at, sums_at, x_at, shared_bytes;
};

/// Teams of warps of a group take rounds by turns. For each of them a warp loads.
constexpr std::uint32_t kStreamTeams = 2, kStreamWarps = 8, kMostStages = 14;
constexpr int kStreamThreads = 32 * kStreamTeams * (kStreamWarps + 1);

/// What a plan depends on besides the problem.
struct StreamShape {
  std::uint32_t rows, columns;                  // of x, of products
  std::uint32_t row_bytes, x_bytes, sum_bytes;  // of a unit: of a row of W, of a column of x, of all sums
  bool aligned;
};

/// Two plans of products of the same x by formats of their own, done by one launch.
struct StreamPair {
  StreamPlan plan[2];
  std::uint32_t groups;  // of the first
};

/// Completes a plan whose pointers and sizes are set. Returns whether `bytes` of shared memory are enough.
inline bool spread(StreamPlan& plan, const StreamShape& shape, std::size_t bytes) {
  plan.step_units = kStreamWarps;
  plan.step_slabs_log2 = 0;
  while (plan.step_units / 2 >= plan.units) plan.step_units /= 2, ++plan.step_slabs_log2;
  plan.pitch = ring_pitch(plan.step_units, shape.row_bytes, shape.aligned);
  plan.stage_bytes = ((16 << plan.step_slabs_log2) * plan.pitch + 127) / 128 * 128;
  plan.x_stride = plan.units * shape.x_bytes + 64;
  RingRoom room;
  plan.batch = plan.units < 32 ? 2 * kStreamTeams : kStreamTeams;
  plan.partials_at = room.take(2 * plan.batch * kStreamWarps * 16 * shape.rows * sizeof(float));
  plan.factors_at = room.take(plan.units * shape.columns * sizeof(float));
  plan.sums_at = room.take(plan.units * shape.sum_bytes);
  plan.x_at = room.take(std::size_t{shape.columns / shape.rows} * plan.m * plan.x_stride);
  room.leave(256);  // columns that are none are read too
  if (!room.put_ring(plan, bytes, {.fewest = 3, .most = kMostStages, .teams = kStreamTeams},
                     {&plan.partials_at, &plan.factors_at, &plan.sums_at, &plan.x_at}))
    return false;
  plan.ahead = stages_ahead(plan, 64 << 10);
  return true;
}

}  // namespace mlx_native::cuda
