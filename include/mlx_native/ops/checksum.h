#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// Words that one sum covers: 16 KiB.
inline constexpr std::uint32_t kChecksumWords = 4096;

struct ChecksumParams {
  std::uint64_t n_words;  ///< of 32 bits
};

/// sums[i] = the sum, modulo 2^32, of kChecksumWords words of `input` from i * kChecksumWords on, or of what is left
/// there. `input` is U32 [n_words] (MlxBuffer::reinterpret makes a view of any other), `sums` U32 [ceil(n_words /
/// kChecksumWords)]. It tells whether a device holds what was uploaded; and since it only reads, its time is about the
/// least that an op over the same bytes can take. Errors as in ops/matmul.h.
Result<void> checksum(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& input, MlxBuffer& sums, const ChecksumParams& params);

}  // namespace mlx_native
