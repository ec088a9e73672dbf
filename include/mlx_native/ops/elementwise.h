// Element by element, all F32. `output` may be exactly the view of an input of its size; otherwise they must share no
// byte. Errors as in ops/matmul.h.
#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// a and output are [rows, cols], b too unless broadcast.
struct ElementwiseParams {
  std::uint32_t rows;
  std::uint32_t cols;
  bool broadcast_b = false;  ///< b is one row [cols] for all rows: a bias
};

/// output = a + b.
Result<void> elementwise_add(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                             const MlxBuffer& a, const MlxBuffer& b, MlxBuffer& output,
                             const ElementwiseParams& params);

/// output = a * b.
Result<void> elementwise_mul(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                             const MlxBuffer& a, const MlxBuffer& b, MlxBuffer& output,
                             const ElementwiseParams& params);

struct ActivationParams {
  std::uint64_t n;  ///< elements of every operand
};

/// output = gate / (1 + exp(-gate)) * up, the gate of a SwiGLU. Relative error of a value at most 1e-6.
Result<void> silu_mul(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& gate, const MlxBuffer& up, MlxBuffer& output, const ActivationParams& params);

enum class GeluKind {
  Tanh,  ///< 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  Erf,   ///< 0.5 x (1 + erf(x / sqrt(2)))
};

struct GeluParams {
  std::uint64_t n;  ///< elements of input and output
  GeluKind kind = GeluKind::Tanh;
};

/// output = gelu(input). Absolute error of a value at most 1e-6 * max(1, |x|).
Result<void> gelu(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                  const MlxBuffer& input, MlxBuffer& output, const GeluParams& params);

}  // namespace mlx_native
