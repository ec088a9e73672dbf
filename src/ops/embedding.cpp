#include "mlx_native/ops/embedding.h"

#include "args/embedding.h"
#include "core/checked.h"
#include "ops/call.h"

namespace mlx_native {

using ops::Op;

Result<void> embedding_gather_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                   const MlxBuffer& table, const MlxBuffer& ids, MlxBuffer& output,
                                   const EmbeddingParams& params) {
  const auto [n_tokens, n_rows, dim, type] = params;
  ops::Call call("embedding_gather_ggml", encoder, registry, device);
  call.extents({{"n_tokens", n_tokens}, {"n_rows", n_rows}, {"dim", dim}});
  const std::uint64_t row_bytes = call.row_bytes(type, "dim", dim);
  const auto* const rows = call.read_blocks("table", table, type, checked_mul(n_rows, row_bytes));
  const auto* const tokens = call.read_ids("ids", ids, {n_tokens}, n_rows, "n_rows");
  auto* const y = call.write<float>("output", output, {n_tokens, dim});
  return call.encode({Op::EmbeddingGather}, type, Precision::Full,
                     EmbeddingArgs{rows, tokens, y, row_bytes, n_tokens, n_rows, dim});
}

Result<void> dequantize_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                             const MlxBuffer& blocks, MlxBuffer& output, const DequantizeParams& params) {
  const auto [n_values, type] = params;
  ops::Call call("dequantize_ggml", encoder, registry, device);
  call.extents({{"n_values", n_values}});
  const std::uint64_t bytes = call.row_bytes(type, "n_values", n_values);
  const auto* const b = call.read_blocks("blocks", blocks, type, bytes);
  auto* const y = call.write<float>("output", output, {n_values});
  if (!call.ok()) return call.failure();
  const std::uint64_t n_blocks = n_values / ggml_layout(type)->block_values;
  return call.encode({Op::Dequantize}, type, Precision::Full, DequantizeArgs{b, y, n_blocks});
}

}  // namespace mlx_native
