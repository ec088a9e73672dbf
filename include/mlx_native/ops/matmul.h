// y = x W^T over weights of any GGML format, dense and routed to experts.
//
// Weights are rows of blocks, [n, k / block] as in a GGUF file, in a U8 buffer (or, for F32, F16 and BF16 weights, in a
// buffer of that dtype). A view of weights starts where blocks may: at an even byte (F32: a multiple of 4), on GPUs at
// a multiple of 16. Activations and results are F32. Rows of the result do not depend on which other rows share the
// call, for the same kernel. Accuracy: see Precision.
//
// Errors, of these ops and all others: InvalidArgument for a zero extent, a row that is not a whole number of blocks, a
// buffer of another dtype or device, too small or misaligned, a read-only output, and an output that overlaps another
// operand; UnsupportedDtype for a type outside weight_formats(); KernelNotFound where the device has no kernel for it.
// A failed call records nothing.
#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/ops/precision.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// Up to this many rows a product is computed by mat-vec kernels, above it by mat-mat kernels, where the device has
/// both. KernelRegistry::force overrides it.
inline constexpr std::uint32_t MM_ROUTING_THRESHOLD = 8;
/// The same for tokens of expert-routed products.
inline constexpr std::uint32_t MM_ID_ROUTING_THRESHOLD = 32;

struct GgmlQuantizedMatmulParams {
  std::uint32_t m;  ///< rows of x and y
  std::uint32_t n;  ///< rows of W, columns of y
  std::uint32_t k;  ///< columns of x and W
  GgmlType ggml_type;
  Precision precision = Precision::Auto;
};

/// output[m, n] = input[m, k] * weight[n, k]^T.
Result<void> quantized_matmul_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                   const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output,
                                   const GgmlQuantizedMatmulParams& params);

/// As quantized_matmul_ggml, but for any m by a mat-mat kernel where the device has one.
Result<void> dispatch_mm_for_test(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                  const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output,
                                  const GgmlQuantizedMatmulParams& params);

struct GgmlQuantizedMatmulIdParams {
  std::uint32_t n_tokens;
  std::uint32_t top_k;  ///< experts per token; an expert may occur more than once in a token
  std::uint32_t n;
  std::uint32_t k;
  std::uint32_t n_experts;
  std::uint64_t expert_stride;  ///< bytes from one expert's weights to the next one's, at least those of one
  GgmlType ggml_type;
  Precision precision = Precision::Auto;
};

/// output[t * top_k + s, :] = input[t, :] * weight[ids[t * top_k + s]]^T with ids U32. An id >= n_experts is
/// InvalidArgument where the host wrote the ids; where a command computes them, or the host changes them after this
/// call, it gives a row of NaN. After the last expert no padding up to the stride is needed.
Result<void> quantized_matmul_id_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                      const MlxBuffer& input, const MlxBuffer& weight, const MlxBuffer& ids,
                                      MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params);

/// As quantized_matmul_id_ggml, but for any number of tokens by a mat-mat kernel where the device has one.
Result<void> dispatch_id_mm_for_test(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                     const MlxBuffer& input, const MlxBuffer& weight, const MlxBuffer& ids,
                                     MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params);

}  // namespace mlx_native
