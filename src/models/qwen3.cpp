// Qwen3: RoPE on halves of a head, queries and keys normalised head by head.
#include "models/decoder.h"
#include "models/feed_forward.h"
#include "models/malformed.h"

namespace mlx_native {

Result<std::unique_ptr<const Layers>> load_qwen3(const ModelConfig& config, WeightLoader& weights) {
  if (config.n_experts)
    return malformed("qwen3.expert_count is {}, but qwen3 is dense; qwen3moe has experts", config.n_experts);
  return Decoder<SwiGlu>::load(config, weights, {.pairing = RopePairing::Neox, .head_norms = true});
}

}  // namespace mlx_native
