// Llama 1 to 3, Mistral, and with experts Mixtral: RoPE on neighbours (GGUF files hold rows of W_q and W_k in that
// order), its frequencies divided by the factors of rope_freqs.weight where a file has them (Llama 3.1).
#include <algorithm>
#include <cmath>

#include "models/decoder.h"
#include "models/feed_forward.h"
#include "models/malformed.h"

namespace mlx_native {

Result<std::unique_ptr<const Layers>> load_llama(const ModelConfig& config, WeightLoader& weights) {
  AttentionStyle style{.pairing = RopePairing::Adjacent};
  if (weights.has("rope_freqs.weight")) {
    MLXN_ASSIGN(style.freq_factors, weights.vector("rope_freqs.weight", config.rope_dim / 2));
    MLXN_ASSIGN(const auto factors, style.freq_factors->as_slice<float>());
    if (!std::ranges::all_of(factors, [](float f) { return std::isfinite(f) && f > 0; }))
      return malformed("rope_freqs.weight holds a factor that is not finite and positive");
  }
  return config.n_experts ? Decoder<MixtureOfExperts>::load(config, weights, style)
                          : Decoder<SwiGlu>::load(config, weights, style);
}

}  // namespace mlx_native
