// Qwen3-MoE: the attention of Qwen3, and experts in every layer.
#include "models/decoder.h"
#include "models/feed_forward.h"
#include "models/malformed.h"

namespace mlx_native {

Result<std::unique_ptr<const Layers>> load_qwen3moe(const ModelConfig& config, WeightLoader& weights) {
  if (!config.n_experts) return malformed("qwen3moe.expert_count is missing or 0");
  return Decoder<MixtureOfExperts>::load(config, weights, {.pairing = RopePairing::Neox, .head_norms = true});
}

}  // namespace mlx_native
