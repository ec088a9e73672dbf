// y = x W^T over weights of any GGML format, dense and routed to experts.
//
// Weights are rows of blocks, [n, k / block] as in a GGUF file, in a U8 buffer (or, for F32, F16 and BF16 weights, in a
// buffer of that dtype). Activations and results are F32. Rows of the result do not depend on which other rows share
// the call, for the same kernel. Accuracy: see Precision.
//
// Errors of all: InvalidArgument for a zero extent, k that is not a multiple of the block, buffers of another dtype,
// too small, of another device, read-only output, or an output that overlaps an input; UnsupportedDtype for a type
// outside weight_formats(); KernelNotFound where the device has no kernel for it.
#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native {

/// Up to this many rows a product is made by mat-vec kernels, above it by mat-mat kernels.
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

/// As quantized_matmul_ggml, by a mat-mat kernel for any m.
Result<void> dispatch_mm_for_test(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                  const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output,
                                  const GgmlQuantizedMatmulParams& params);

struct GgmlQuantizedMatmulIdParams {
  std::uint32_t n_tokens;
  std::uint32_t top_k;  ///< experts per token; an expert may occur more than once in a token
  std::uint32_t n;
  std::uint32_t k;
  std::uint32_t n_experts;
  std::uint64_t expert_stride;  ///< bytes from one expert's weights to the next one's
  GgmlType ggml_type;
  Precision precision = Precision::Auto;
};

/// output[t * top_k + s, :] = input[t, :] * weight[ids[t * top_k + s]]^T with ids U32. An id >= n_experts is
/// InvalidArgument where the host wrote the ids; where a command computes them, it gives a row of NaN.
Result<void> quantized_matmul_id_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                      const MlxBuffer& input, const MlxBuffer& weight, const MlxBuffer& ids,
                                      MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params);

/// As quantized_matmul_id_ggml, by a mat-mat kernel for any number of tokens.
Result<void> dispatch_id_mm_for_test(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                     const MlxBuffer& input, const MlxBuffer& weight, const MlxBuffer& ids,
                                     MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params);

}  // namespace mlx_native
