#include "models/pass.h"

#include "core/error.h"
#include "mlx_native/ops/elementwise.h"
#include "mlx_native/ops/matmul.h"
#include "mlx_native/ops/norm.h"

namespace mlx_native {

Result<Activations> Activations::allocate(const MlxDevice& device, const ModelConfig& config,
                                          std::uint32_t max_tokens) {
  const auto rows_of = [&](std::size_t width, std::size_t rows, DType dtype = DType::F32) {
    return device.alloc_buffer(rows * width * dtype_size(dtype), dtype, {rows, width});
  };
  const std::size_t n = max_tokens, experts = std::max(1u, config.n_experts_used);
  const std::size_t q_width = std::size_t{config.n_heads} * config.head_dim,
                    kv_width = std::size_t{config.n_kv_heads} * config.head_dim;
  MLXN_ASSIGN(MlxBuffer tokens, rows_of(1, n, DType::U32));
  MLXN_ASSIGN(MlxBuffer positions, rows_of(1, n, DType::U32));
  MLXN_ASSIGN(MlxBuffer hidden, rows_of(config.dim, n));
  MLXN_ASSIGN(MlxBuffer normed, rows_of(config.dim, n));
  MLXN_ASSIGN(MlxBuffer branch, rows_of(config.dim, n));
  MLXN_ASSIGN(MlxBuffer query, rows_of(q_width, n));
  MLXN_ASSIGN(MlxBuffer key, rows_of(kv_width, n));
  MLXN_ASSIGN(MlxBuffer value, rows_of(kv_width, n));
  MLXN_ASSIGN(MlxBuffer attended, rows_of(q_width, n));
  MLXN_ASSIGN(MlxBuffer gate, rows_of(config.ffn_dim, n * experts));
  MLXN_ASSIGN(MlxBuffer up, rows_of(config.ffn_dim, n * experts));
  MLXN_ASSIGN(MlxBuffer logits, rows_of(config.n_vocab, 1));
  std::optional<Routing> routing;
  if (config.n_experts) {
    MLXN_ASSIGN(MlxBuffer router, rows_of(config.n_experts, n));
    MLXN_ASSIGN(MlxBuffer ids, rows_of(experts, n, DType::U32));
    MLXN_ASSIGN(MlxBuffer weights, rows_of(experts, n));
    MLXN_ASSIGN(MlxBuffer outputs, rows_of(config.dim, n * experts));
    routing.emplace(Routing{std::move(router), std::move(ids), std::move(weights), std::move(outputs)});
  }
  return Activations{std::move(tokens), std::move(positions), std::move(hidden), std::move(normed),   std::move(branch),
                     std::move(query),  std::move(key),       std::move(value),  std::move(attended), std::move(gate),
                     std::move(up),     std::move(routing),   std::move(logits)};
}

std::uint64_t Activations::bytes() const {
  std::uint64_t sum = 0;
  for (const MlxBuffer* buffer :
       {&tokens, &positions, &hidden, &normed, &branch, &query, &key, &value, &attended, &gate, &up, &logits})
    sum += buffer->byte_len();
  if (routing)
    for (const MlxBuffer* buffer : {&routing->logits, &routing->ids, &routing->weights, &routing->outputs})
      sum += buffer->byte_len();
  return sum;
}

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
