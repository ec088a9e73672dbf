#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// Which two values of a head are rotated together.
enum class RopePairing {
  Neox,      ///< (i, i + pair_split)
  Adjacent,  ///< (2 i, 2 i + 1)
};

struct RopeParams {
  std::uint32_t n_tokens;
  std::uint32_t n_heads;
  std::uint32_t head_dim;
  std::uint32_t rope_dim;  ///< even, <= head_dim; values beyond it (Neox: outside the pairs) are copied
  float theta;             ///< base of the frequencies, > 0
  RopePairing pairing = RopePairing::Neox;
  /// Neox: distance of a pair, rope_dim / 2 to head_dim - rope_dim / 2. 0: rope_dim / 2, as ggml and the model authors
  /// have it; the reference system uses head_dim / 2. Adjacent: 0.
  std::uint32_t pair_split = 0;
  /// Every position is multiplied by it (linear scaling), > 0.
  float freq_scale = 1.0f;
};

/// Rotates pair i of every head by the angle position * freq_scale * theta^(-2 i / rope_dim) / freq_factors[i]. input
/// and output F32 [n_tokens, n_heads, head_dim], positions U32 [n_tokens], freq_factors null or F32 [rope_dim / 2].
/// `output` may be `input`. Angles are reduced in float64 or finer: the error of a value is at most 1e-6 of its pair's
/// length at any position. Errors as in ops/matmul.h.
Result<void> rope(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                  const MlxBuffer& input, const MlxBuffer& positions, const MlxBuffer* freq_factors, MlxBuffer& output,
                  const RopeParams& params);

}  // namespace mlx_native
