#include "models/memory.h"

#include <algorithm>

#include "core/checked.h"
#include "core/error.h"

namespace mlx_native {

Result<void> MemoryBudget::check(std::string_view what, std::optional<std::uint64_t> bytes) const {
  if (bytes && *bytes <= left_) return {};
  return error(ErrorKind::BufferAllocationError, "{} needs {} bytes, but {} are free", what,
               bytes ? fmt::format("{}", *bytes) : "more than 2^64", left_);
}

Result<MlxBuffer> MemoryBudget::alloc(std::string_view what, DType dtype, const Shape& shape) {
  const auto elements = checked_product(shape);
  const auto bytes = elements ? checked_mul(*elements, dtype_size(dtype)) : std::nullopt;
  MLXN_TRY(check(what, bytes));
  MLXN_ASSIGN(MlxBuffer buffer, device_.alloc_buffer(*bytes, dtype, shape));
  left_ -= *bytes;
  spent_ += *bytes;
  return buffer;
}

Result<std::vector<KvCache>> KvCache::allocate(MemoryBudget& memory, const ModelConfig& config,
                                               const ModelOptions& options) {
  const std::string what = fmt::format("the KV cache of {} tokens", options.context);
  const Shape shape{config.n_kv_heads, options.context, config.head_dim};
  MLXN_TRY(memory.check(
      what, checked_product({2, config.n_layers, shape[0], shape[1], shape[2], dtype_size(options.kv_dtype)})));
  std::vector<KvCache> layers;
  for (std::uint32_t i = 0; i < config.n_layers; ++i) {
    MLXN_ASSIGN(MlxBuffer keys, memory.alloc(what, options.kv_dtype, shape));
    MLXN_ASSIGN(MlxBuffer values, memory.alloc(what, options.kv_dtype, shape));
    layers.push_back({std::move(keys), std::move(values)});
  }
  return layers;
}

Result<Activations> Activations::allocate(MemoryBudget& memory, const ModelConfig& config, std::uint32_t max_tokens) {
  const std::string what = fmt::format("the activations of {} tokens", max_tokens);
  const auto rows = [&](std::size_t n, std::size_t width, DType dtype = DType::F32) {
    return memory.alloc(what, dtype, {n, width});
  };
  const std::size_t n = max_tokens, n_used = std::max(1u, config.n_experts_used) * n;
  const std::size_t q_width = std::size_t{config.n_heads} * config.head_dim;
  const std::size_t kv_width = std::size_t{config.n_kv_heads} * config.head_dim;
  MLXN_ASSIGN(MlxBuffer tokens, rows(n, 1, DType::U32));
  MLXN_ASSIGN(MlxBuffer positions, rows(n, 1, DType::U32));
  MLXN_ASSIGN(MlxBuffer hidden, rows(n, config.dim));
  MLXN_ASSIGN(MlxBuffer normed, rows(n, config.dim));
  MLXN_ASSIGN(MlxBuffer branch, rows(n, config.dim));
  MLXN_ASSIGN(MlxBuffer query, rows(n, q_width));
  MLXN_ASSIGN(MlxBuffer key, rows(n, kv_width));
  MLXN_ASSIGN(MlxBuffer rotated_query, rows(n, q_width));
  MLXN_ASSIGN(MlxBuffer rotated_key, rows(n, kv_width));
  MLXN_ASSIGN(MlxBuffer value, rows(n, kv_width));
  MLXN_ASSIGN(MlxBuffer attended, rows(n, q_width));
  MLXN_ASSIGN(MlxBuffer gate, rows(n_used, config.ffn_dim));
  MLXN_ASSIGN(MlxBuffer up, rows(n_used, config.ffn_dim));
  MLXN_ASSIGN(MlxBuffer logits, rows(1, config.n_vocab));
  Activations act{std::move(tokens), std::move(positions),     std::move(hidden),
                  std::move(normed), std::move(branch),        std::move(query),
                  std::move(key),    std::move(rotated_query), std::move(rotated_key),
                  std::move(value),  std::move(attended),      std::move(gate),
                  std::move(up),     std::move(logits),        {}};
  if (config.n_experts) {
    MLXN_ASSIGN(MlxBuffer router, rows(n, config.n_experts));
    MLXN_ASSIGN(MlxBuffer ids, rows(n_used, 1, DType::U32));
    MLXN_ASSIGN(MlxBuffer weights, rows(n_used, 1));
    MLXN_ASSIGN(MlxBuffer outputs, rows(n_used, config.dim));
    act.routing.emplace(Routing{std::move(router), std::move(ids), std::move(weights), std::move(outputs)});
  }
  return act;
}

}  // namespace mlx_native
