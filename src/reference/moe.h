#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mlx_native::reference {

struct Routing {
  std::vector<std::uint32_t> ids;  ///< UINT32_MAX where the token's logits hold a NaN, +infinity, or nothing finite
  std::vector<double> weights;     ///< NaN there
};
/// Softmax over each row of n_experts logits, the top_k largest, of equals the lowest expert first.
Routing moe_softmax_topk(std::span<const float> logits, std::size_t n_experts, std::size_t top_k, bool renormalize);

/// y[t, :] = sum over s of weights[t, s] * experts[t, s, :].
std::vector<double> moe_weighted_reduce(std::span<const float> experts, std::span<const float> weights,
                                        std::size_t top_k, std::size_t dim);

}  // namespace mlx_native::reference
