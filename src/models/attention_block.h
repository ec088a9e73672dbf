#pragma once

#include <cstdint>
#include <optional>

#include "mlx_native/ops/rope.h"
#include "models/pass.h"
#include "models/weights.h"

namespace mlx_native {

/// What families of models do differently.
struct AttentionStyle {
  RopePairing pairing = RopePairing::Neox;
  bool head_norms = false;                ///< queries and keys are normalised head by head, before RoPE
  std::optional<MlxBuffer> freq_factors;  ///< of RoPE
};

/// hidden += W_o attention(q, K, V), where x = rms_norm(hidden), q = rope(W_q x), and rope(W_k x) and W_v x are the
/// newest entries of K and V.
class AttentionBlock {
 public:
  static Result<AttentionBlock> load(WeightLoader& weights, const ModelConfig& config, std::uint32_t layer,
                                     AttentionStyle style);
  Result<void> record(Pass& pass) const;

 private:
  struct Weights {
    MlxBuffer norm;
    Linear query, key, value, output;
    std::optional<MlxBuffer> query_norm, key_norm;
  };
  AttentionBlock(Weights weights, std::uint32_t layer, AttentionStyle style)
      : weights_(std::move(weights)), layer_(layer), style_(std::move(style)) {}
  Result<void> norm_and_rotate(const Pass& pass, const std::optional<MlxBuffer>& norm, const MlxBuffer& heads,
                               MlxBuffer& rotated, std::uint32_t n_heads) const;
  Result<void> remember(const Pass& pass, const MlxBuffer& heads, MlxBuffer& cache) const;

  Weights weights_;
  std::uint32_t layer_;
  AttentionStyle style_;
};

}  // namespace mlx_native
