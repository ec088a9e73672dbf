// How a product of few rows is spread over the machine, and where things lie in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mlx_native::cuda {

/// A slab is 16 rows of W, in units of 256 columns (cuda/vec/units.cuh). Its units are dealt to `parts` warps, of one
/// or several groups of a cluster; a group works on `row_groups` slabs at a time. Parts depend on the shape of W alone,
/// so that a row of the result is the same sum in every call.
struct VecPlan {
  /// Of one product of several with the same x.
  struct Target {
    const std::uint8_t* weight;
    float* output;
    std::uint32_t n;
    std::uint32_t slot_slabs;  // slabs of W; routed: of one expert
    std::uint32_t first_slab;
  };
  static constexpr std::uint32_t kMostTargets = 3;
  Target target[kMostTargets];
  std::uint32_t targets;
  const float* input;
  const std::uint32_t* ids;  // of experts; routed products only
  std::uint64_t row_bytes, expert_stride;
  std::uint32_t m, k, top_k, n_experts;
  std::uint32_t units;  // in a row of W; a unit's part is its index modulo `parts`
  std::uint32_t parts;
  std::uint32_t group_parts;  // parts that a group does: parts / cluster
  std::uint32_t row_groups;   // slabs that a group works on at a time
  std::uint32_t slabs;        // in all
  std::uint32_t rounds;       // slabs that a warp works on
  std::uint32_t x_stride;     // bytes between columns of x in shared memory
  std::uint32_t x_units;      // units of x that a group (routed: a warp) holds
  // Offsets in shared memory; at 0 is the ring of weights.
  std::uint32_t partials_at, factors_at, x_at;
};

/// What a plan depends on besides the problem.
struct VecShape {
  std::uint32_t columns;          // 4, 8 or 16 rows of x
  std::uint32_t warps, stages;    // of a group; units of a warp's ring
  std::uint32_t pitch;            // bytes between rows of a unit
  std::uint32_t x_bytes, x_skew;  // of a unit of x, and between columns
  bool routed;
};

inline std::uint32_t vec_parts(std::uint32_t units) {
  const std::uint32_t parts = units <= 8 ? 2 : units < 32 ? 4 : 8;
  return parts < units ? parts : units;
}

/// Completes a plan whose pointers and sizes are set, but for `rounds`. Returns the bytes of shared memory that a group
/// needs. cluster divides parts.
inline std::size_t spread(VecPlan& plan, const VecShape& shape, std::uint32_t cluster) {
  plan.parts = vec_parts(plan.units);
  plan.group_parts = plan.parts / cluster;
  plan.row_groups = shape.warps / plan.group_parts;
  const std::uint32_t dealt = (plan.units - 1) / plan.parts + 1;
  plan.x_units = shape.routed ? dealt : dealt * plan.group_parts;
  plan.x_stride = (plan.x_units * shape.x_bytes + 127) / 128 * 128 + shape.x_skew;
  const std::size_t owned = (plan.row_groups - 1) / cluster + 1, owners = shape.routed ? shape.warps : 1;
  std::size_t at = 0;
  const auto take = [&](std::size_t bytes) {
    const std::size_t begin = at;
    at = (at + bytes + 127) / 128 * 128;
    return static_cast<std::uint32_t>(begin);
  };
  take(std::size_t{16} * shape.pitch * shape.warps * shape.stages);
  plan.partials_at = take(2 * owned * plan.parts * 16 * shape.columns * sizeof(float));
  plan.factors_at = take(owners * plan.x_units * shape.columns * sizeof(float));
  plan.x_at = take(owners * 2 * plan.m * plan.x_stride);
  return at;
}

}  // namespace mlx_native::cuda
