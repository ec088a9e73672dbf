// Rows of a weight table, and whole tensors, as F32. Errors as in ops/matmul.h.
#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct EmbeddingParams {
  std::uint32_t n_tokens;
  std::uint32_t n_rows;  ///< rows of the table
  std::uint32_t dim;     ///< values per row, a multiple of the format's block
  GgmlType ggml_type;
};

/// output[t, :] = decoded row ids[t] of table, exactly; ids U32, output F32 [n_tokens, dim]. An id >= n_rows is
/// InvalidArgument where the host wrote the ids, a row of NaN where a command did.
Result<void> embedding_gather_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                   const MlxBuffer& table, const MlxBuffer& ids, MlxBuffer& output,
                                   const EmbeddingParams& params);

struct DequantizeParams {
  std::uint64_t n_values;  ///< a multiple of the format's block
  GgmlType ggml_type;
};

/// output[i] = decoded value i of blocks, exactly; output F32.
Result<void> dequantize_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                             const MlxBuffer& blocks, MlxBuffer& output, const DequantizeParams& params);

}  // namespace mlx_native
