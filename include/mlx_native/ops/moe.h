// Routing of tokens to experts, and the weighted sum of the experts' outputs. Errors as in ops/matmul.h.
#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct MoeSoftmaxTopkParams {
  std::uint32_t n_tokens;
  std::uint32_t n_experts;
  std::uint32_t top_k;      ///< <= n_experts
  bool renormalize = true;  ///< the chosen weights sum to one
};

/// Softmax over each token's logits F32 [n_tokens, n_experts]; the top_k largest in descending order, of equals the
/// lowest expert first, to ids U32 and weights F32 [n_tokens, top_k]. A row with a NaN or +infinite logit, or without a
/// finite one, gives ids of UINT32_MAX and NaN weights. Relative error of a weight at most 1e-6.
Result<void> moe_softmax_topk(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                              const MlxBuffer& logits, MlxBuffer& ids, MlxBuffer& weights,
                              const MoeSoftmaxTopkParams& params);

struct MoeWeightedReduceParams {
  std::uint32_t n_tokens;
  std::uint32_t top_k;
  std::uint32_t dim;
};

/// output[t, :] = sum over s, ascending, of weights[t, s] * experts[t, s, :]. All F32: experts [n_tokens, top_k, dim],
/// weights [n_tokens, top_k], output [n_tokens, dim].
Result<void> moe_weighted_reduce(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                 const MlxBuffer& experts, const MlxBuffer& weights, MlxBuffer& output,
                                 const MoeWeightedReduceParams& params);

}  // namespace mlx_native
