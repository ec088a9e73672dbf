// How a product of few rows is spread over clusters of Hopper's multiprocessors, and where things lie in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/tensor/weight_map.h"
#include "cuda/vec/plan.h"
#include "cuda/vec/ring.h"

namespace mlx_native::cuda {

/// What boxes are dealt by: each of a team's eight warps takes a unit of 256 columns of a slab of 16 rows of W. Slabs
/// whose rows are short go several at a time.
struct BoxStep {
  std::uint32_t units;       // of a row, at most eight and so many as a box can have
  std::uint32_t units_log2;  // warps a slab, as a power of two
  std::uint32_t slabs_log2;
};

/// The groups of a cluster have a part each of the columns, and so of x; a cluster takes slabs by steps, which go
/// through a ring in shared memory. A warp adds up its units of a slab in their order, the warps' sums are added in
/// theirs, and then the parts', or all warps' by parts: so a row of the result has the same bits in every call.
struct BoxPlan {
  WeightMap map[VecPlan::kMostTargets];
  VecPlan::Target target[VecPlan::kMostTargets];
  std::uint32_t targets;
  const float* input;
  const float* residual;  // as FusedMatmulArgs (args/fused.h) has them, of one target
  float* sum;
  std::uint32_t m, k, units;
  std::uint32_t parts_log2, part_units;  // groups of a cluster; units of a part, at most
  BoxStep step;
  std::uint32_t slabs;                // in all
  std::uint32_t share_log2;           // four sums each of a round that a group gathers, as a power of two
  bool direct;                        // warps that multiply send their sums themselves
  std::uint32_t slots;                // rounds whose sums are under way in a group otherwise
  std::uint32_t pitch;                // bytes between rows in the ring
  std::uint32_t stage_bytes, stages;  // the latter a multiple of the teams
  std::uint32_t x_stride;             // bytes between columns of x
  std::uint32_t full_rounds;          // rounds of all clusters with all slabs
  std::uint32_t ahead, early;         // stages that are on their way at a time; until x is split
  // Offsets in shared memory, which begins with barriers and the ring.
  std::uint32_t partials_at, gathered_at, factors_at, sums_at, x_at, shared_bytes;
};

/// What a plan depends on besides the problem.
struct BoxShape {
  std::uint32_t rows;                // of x, padded
  std::uint32_t stored;              // of them, of a tile of sums: at least four
  std::uint32_t planes;              // columns that are stored of a row of x
  std::uint32_t row_bytes;           // of a unit of a row of W
  std::uint32_t x_bytes, x_skew;     // of a unit of a column of x; between columns, modulo 128
  std::uint32_t factors, sum_bytes;  // of a unit of x
  bool aligned;
};

constexpr std::uint32_t kBoxTeams = 2, kBoxTeamWarps = 8, kBoxStages = 12, kMostPartsLog2 = 3;
/// Rounds whose sums are under way in a group, and that a group can gather at a time.
constexpr std::uint32_t kMostSlots = 2 * kBoxTeams, kGatherSlots = 2 * kBoxTeams;
/// Units of a group's part with which warps that multiply send their sums themselves: with more it is too much.
constexpr std::uint32_t kMostDirectUnits = 2;
constexpr std::uint32_t kBoxRingAt = 384;      // barriers take less
constexpr std::uint32_t kManyRowsOfW = 57344;  // a group splits x of so many rows without the help of a cluster
/// Besides those that multiply: one loads, one a team adds up, one gathers.
constexpr std::uint32_t kLoader = kBoxTeams * kBoxTeamWarps, kBoxWarps = kLoader + 1 + kBoxTeams + 1;
constexpr std::uint32_t kMapUnit = 8;  // bytes that boxes are counted in, of which they have at most 256

/// The widest step of `units` units of a row. pitch: of the ring, likewise set.
inline BoxStep box_step(std::uint32_t units, std::uint32_t row_bytes, bool aligned, std::uint32_t& pitch) {
  std::uint32_t most = kBoxTeamWarps;
  while (ring_pitch(most, row_bytes, aligned) > 256 * kMapUnit) --most;
  const std::uint32_t steps = (units - 1) / most + 1;
  BoxStep step{(units - 1) / steps + 1, 0, 0};
  while (1u << step.units_log2 < step.units) ++step.units_log2;
  step.slabs_log2 = 3 - step.units_log2;
  pitch = ring_pitch(step.units, row_bytes, aligned);
  return step;
}
static_assert(kBoxTeamWarps == 8);

/// Completes a plan whose pointers and sizes are set. Returns whether `bytes` of shared memory are enough for it and a
/// ring of `fewest` stages.
inline bool spread(BoxPlan& plan, const BoxShape& shape, std::uint32_t parts_log2, std::size_t bytes,
                   std::uint32_t fewest) {
  plan.parts_log2 = parts_log2;
  plan.part_units = (plan.units - 1 >> parts_log2) + 1;
  plan.step = box_step(plan.part_units, shape.row_bytes, shape.aligned, plan.pitch);
  plan.stage_bytes = (16 << plan.step.slabs_log2) * plan.pitch;
  plan.x_stride = (plan.part_units * shape.x_bytes + 127) / 128 * 128 + shape.x_skew;
  const std::size_t tile = 16 * shape.stored * sizeof(float);
  plan.direct = parts_log2 > 0 && plan.step.units <= kMostDirectUnits;
  plan.slots = plan.direct ? 0 : shape.rows == 16 ? kBoxTeams : kMostSlots;
  plan.share_log2 = 5;  // for all lanes of a warp
  while (16 * shape.stored / 4 << plan.step.slabs_log2 > 1u << plan.share_log2 + parts_log2) ++plan.share_log2;
  const std::uint32_t sources = (plan.direct ? plan.step.units : 1) << parts_log2;
  RingRoom room(kBoxRingAt);
  plan.partials_at = room.take(plan.slots * kBoxTeamWarps * tile);
  plan.gathered_at = room.take(parts_log2 == 0 ? 0 : std::size_t{kGatherSlots * sources * 16} << plan.share_log2);
  plan.factors_at = room.take(plan.part_units * shape.factors * sizeof(float));
  plan.sums_at = room.take(plan.part_units * shape.sum_bytes);
  plan.x_at = room.take(std::size_t{shape.planes} * plan.m * plan.x_stride);
  room.leave(256);  // columns that are none are read too
  if (!room.put_ring(plan, bytes, {.fewest = fewest, .most = kBoxStages, .teams = kBoxTeams},
                     {&plan.partials_at, &plan.gathered_at, &plan.factors_at, &plan.sums_at, &plan.x_at}))
    return false;
  plan.early = plan.ahead = stages_ahead(plan, 36 << 10);
  return true;
}

}  // namespace mlx_native::cuda
