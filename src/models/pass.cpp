#include "models/pass.h"

#include "core/error.h"
#include "mlx_native/ops/elementwise.h"
#include "mlx_native/ops/matmul.h"
#include "mlx_native/ops/norm.h"

namespace mlx_native {

Result<void> Pass::linear(const Linear& layer, const MlxBuffer& input, MlxBuffer& output, std::uint32_t rows) const {
  MLXN_TRY(
      quantized_matmul_ggml(encoder, registry, device, input, layer.weight, output,
                            {.m = rows, .n = layer.n, .k = layer.k, .ggml_type = layer.type, .precision = precision}));
  if (!layer.bias) return {};
  return elementwise_add(encoder, registry, device, output, *layer.bias, output,
                         {.rows = rows, .cols = layer.n, .broadcast_b = true});
}

Result<void> Pass::norm(const MlxBuffer& weight, const MlxBuffer& input, MlxBuffer& output, std::uint32_t rows,
                        std::uint32_t dim) const {
  return rms_norm(encoder, registry, device, input, weight, output, {.rows = rows, .dim = dim, .eps = config.rms_eps});
}

Result<void> Pass::add_branch() const {
  return elementwise_add(encoder, registry, device, act.hidden, act.branch, act.hidden,
                         {.rows = n_tokens, .cols = config.dim});
}

}  // namespace mlx_native
