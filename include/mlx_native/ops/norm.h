#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct RmsNormParams {
  std::uint32_t rows;  ///< tokens, or tokens * heads for a norm per head
  std::uint32_t dim;
  float eps;  ///< >= 0 and finite
};

/// output = input / sqrt(mean(input^2) + eps) * weight, row by row. All F32: input and output [rows, dim], weight
/// [dim]. `output` may be `input`. Relative error of a value at most 1e-6. Errors as in ops/matmul.h.
Result<void> rms_norm(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output, const RmsNormParams& params);

}  // namespace mlx_native
