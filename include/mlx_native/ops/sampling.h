// From logits to a token. Errors as in ops/matmul.h.
#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct ArgmaxParams {
  std::uint32_t rows;
  std::uint32_t cols;
};

/// index[r] = column of the largest of input[r, :], of equals the lowest. input F32 [rows, cols], index U32 [rows]. A
/// row that holds a NaN gives UINT32_MAX and makes wait() return InvalidArgument, naming the row.
Result<void> argmax(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                    const MlxBuffer& input, MlxBuffer& index, const ArgmaxParams& params);

/// In this order: the repeat penalty, then top_k, top_p and min_p on the softmax of logits / temperature, then one
/// draw. Each step is defined to the bit (in the sources: src/args/sampling.h). Tokens of less than 2^-32 of the
/// largest probability are never drawn.
struct SampleParams {
  std::uint32_t n_vocab;
  std::uint32_t n_history = 0;  ///< tokens of `history` that the penalty looks at
  float repeat_penalty = 1.0f;  ///< > 0; a seen token's positive logit is divided by it, others multiplied
  float temperature = 1.0f;     ///< >= 0; 0: the largest logit after the penalty
  std::uint32_t top_k = 0;      ///< keep this many; 0: all
  float top_p = 1.0f;           ///< keep the fewest whose probabilities reach it, in (0, 1]
  float min_p = 0.0f;           ///< keep those of at least this fraction of the largest probability, in [0, 1]
  std::uint64_t seed = 0;
  std::uint64_t step = 0;  ///< of the sequence; (seed, step) alone determine the draw
};

/// InvalidArgument for what `sample` would refuse of the parameters alone.
Result<void> check_sample_params(const SampleParams& params);

/// token[0] = one token drawn from logits F32 [n_vocab]; history U32 [n_history] or null, token U32 [1]. A logit that
/// is NaN or +infinite after the penalty, or no finite one, gives UINT32_MAX and makes wait() return InvalidArgument.
/// History entries >= n_vocab are ignored. Same logits, history and params: same token, on every backend.
Result<void> sample(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                    const MlxBuffer& logits, const MlxBuffer* history, MlxBuffer& token, const SampleParams& params);

}  // namespace mlx_native
