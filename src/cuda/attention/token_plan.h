// How attention of one token is spread over clusters, and where things lie in shared memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/kernels/attention_token.h"
#include "gpu/launch/grid.h"

namespace mlx_native::cuda {

/// Rows that a cluster takes, and keys that a warp takes at a time.
template <int kShare, int kMostRows>
struct TokenShape {
  static constexpr int kRows = gpu::AttentionTokenShape<kShare, kMostRows>::kRows;
  static constexpr int kKeys = kShare > 8 ? 2 : 4;
  static constexpr int kSlice = 32 * kShare;
};

/// A cluster takes some rows of a KV head. Each of its groups has a stretch of the keys, which goes through a ring in
/// shared memory, `step_keys` at a time. What each warp has is a partial: the groups add up all of them, in their
/// order, each for 32 << chunks_log2 values.
struct TokenPlan {
  std::uint32_t groups;     // of a cluster
  std::uint32_t warps;      // of a group that take keys
  std::uint32_t step_keys;  // of a group
  std::uint32_t stages;     // steps that are on their way at a time
  std::uint32_t partials;
  std::uint32_t chunks_log2;
  // Offsets in shared memory, which begins with the barriers.
  std::uint32_t heads_at, own_at, states_at, factors_at, sums_at, ring_at, shared_bytes;
};

constexpr std::uint32_t kMostTokenStages = 8, kMostTokenWarps = 12, kMostTokenGroups = 8;
/// So that beside a product's group four or, with rows of fewer values, five warps find room.
constexpr int token_registers(int chunks, int rows) { return chunks * rows > 4 ? 112 : 96; }

/// value_bytes: of the cache.
template <class Shape>
TokenPlan plan_token(const AttentionArgs& a, std::uint32_t value_bytes) {
  // As many as multiprocessors of the machines of today. A cluster of one group would be none, and could not send.
  constexpr std::uint64_t kEnoughGroups = 132;
  // Up to so many keys a few warps do, which find room beside a product's group; more wait until that is done.
  constexpr std::uint64_t kFewKeys = 512;
  TokenPlan plan{};
  const std::uint64_t units = gpu::tiles(a.n_heads / a.n_kv_heads, Shape::kRows) * a.n_kv_heads;
  plan.groups = kMostTokenGroups;
  while (plan.groups > 2 && units * plan.groups > kEnoughGroups) plan.groups /= 2;
  const bool few = a.likely_keys <= kFewKeys;
  plan.warps = few ? 4 : kMostTokenWarps;
  plan.step_keys = plan.warps * Shape::kKeys;
  plan.partials = plan.groups * plan.warps;
  const std::uint32_t chunks = Shape::kRows * ((a.head_dim - 1) / 32 + 1);
  while (plan.groups << plan.chunks_log2 < chunks) ++plan.chunks_log2;
  const std::uint32_t stage_bytes = 2 * plan.step_keys * a.head_dim * value_bytes;
  const std::uint64_t steps = gpu::tiles(gpu::tiles(a.likely_keys, plan.groups), plan.step_keys);
  plan.stages = static_cast<std::uint32_t>(std::clamp<std::uint64_t>((few ? 40 << 10 : 112 << 10) / stage_bytes, 1,
                                                                     std::min<std::uint64_t>(steps, kMostTokenStages)));
  std::uint32_t at = 256;
  const auto take = [&](std::size_t bytes) {
    const std::uint32_t begin = at;
    at = static_cast<std::uint32_t>((at + bytes + 127) / 128 * 128);
    return begin;
  };
  plan.heads_at = take((Shape::kRows + 4) * Shape::kSlice * sizeof(float));  // angles, queries, key, norms
  plan.own_at = take(std::size_t{2} * Shape::kSlice * value_bytes);
  plan.states_at = take(std::size_t{2} * plan.partials * Shape::kRows * sizeof(float));
  plan.factors_at = take((plan.partials << plan.chunks_log2) * sizeof(float));
  plan.sums_at = take((std::size_t{plan.partials} << plan.chunks_log2) * 32 * sizeof(float));
  plan.ring_at = take(std::size_t{plan.stages} * stage_bytes);
  plan.shared_bytes = at;
  return plan;
}

}  // namespace mlx_native::cuda
