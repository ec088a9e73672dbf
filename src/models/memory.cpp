#include "models/memory.h"

#include <algorithm>

#include "core/checked.h"
#include "core/error.h"

namespace mlx_native {
namespace {

struct Rows {
  std::size_t n, width;
  DType dtype = DType::F32;
};

/// The members of Activations and, with experts, of its Routing, in their order.
std::vector<Rows> rows_of(const ModelConfig& config, std::size_t n) {
  const std::size_t n_used = std::max(1u, config.n_experts_used) * n;
  const std::size_t q_width = std::size_t{config.n_heads} * config.head_dim;
  const std::size_t kv_width = std::size_t{config.n_kv_heads} * config.head_dim;
  std::vector<Rows> rows = {
      {n, 1, DType::U32},        // tokens
      {n, 1, DType::U32},        // positions
      {n, config.dim},           // hidden
      {n, config.dim},           // normed
      {n, config.dim},           // branch
      {n, q_width},              // query
      {n, kv_width},             // key
      {n, q_width},              // rotated_query
      {n, kv_width},             // rotated_key
      {n, kv_width},             // value
      {n, q_width},              // attended
      {n_used, config.ffn_dim},  // gate
      {n_used, config.ffn_dim},  // up
      {1, config.n_vocab}        // logits
  };
  if (config.n_experts)
    rows.insert(rows.end(), {{n, config.n_experts}, {n_used, 1, DType::U32}, {n_used, 1}, {n_used, config.dim}});
  return rows;
}

}  // namespace

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

std::optional<std::uint64_t> KvCache::bytes(const ModelConfig& config, const ModelOptions& options) {
  return checked_product(
      {2, config.n_layers, config.n_kv_heads, options.context, config.head_dim, dtype_size(options.kv_dtype)});
}

Result<std::vector<KvCache>> KvCache::allocate(MemoryBudget& memory, const ModelConfig& config,
                                               const ModelOptions& options) {
  const std::string what = fmt::format("the KV cache of {} tokens", options.context);
  const Shape shape{config.n_kv_heads, options.context, config.head_dim};
  MLXN_TRY(memory.check(what, bytes(config, options)));
  std::vector<KvCache> layers;
  for (std::uint32_t i = 0; i < config.n_layers; ++i) {
    MLXN_ASSIGN(MlxBuffer keys, memory.alloc(what, options.kv_dtype, shape));
    MLXN_ASSIGN(MlxBuffer values, memory.alloc(what, options.kv_dtype, shape));
    layers.push_back({std::move(keys), std::move(values)});
  }
  return layers;
}

std::optional<std::uint64_t> Activations::bytes(const ModelConfig& config, std::uint32_t max_tokens) {
  std::optional<std::uint64_t> sum = 0;
  for (const Rows& rows : rows_of(config, max_tokens)) {
    const auto more = checked_product({rows.n, rows.width, dtype_size(rows.dtype)});
    sum = sum && more ? checked_add(*sum, *more) : std::nullopt;
  }
  return sum;
}

Result<Activations> Activations::allocate(MemoryBudget& memory, const ModelConfig& config, std::uint32_t max_tokens) {
  const std::string what = fmt::format("the activations of {} tokens", max_tokens);
  std::vector<MlxBuffer> buffers;
  for (const Rows& rows : rows_of(config, max_tokens)) {
    MLXN_ASSIGN(MlxBuffer buffer, memory.alloc(what, rows.dtype, {rows.n, rows.width}));
    buffers.push_back(std::move(buffer));
  }
  auto next = buffers.begin();
  const auto take = [&] { return std::move(*next++); };
  Activations act{take(), take(), take(), take(), take(), take(), take(), take(),
                  take(), take(), take(), take(), take(), take(), {}};
  if (config.n_experts) act.routing.emplace(Routing{take(), take(), take(), take()});
  return act;
}

Result<ModelMemory> memory_of(const GgufFile& file, const ModelConfig& config, const ModelOptions& options) {
  const auto kv_cache = KvCache::bytes(config, options),
             activations = Activations::bytes(config, options.prefill_chunk);
  if (!kv_cache || !activations)
    return error(ErrorKind::BufferAllocationError, "{} tokens of context need more than 2^64 bytes", options.context);
  ModelMemory memory{.weights = 0, .kv_cache = *kv_cache, .activations = *activations};
  for (const TensorInfo& info : file.tensors()) {  // vectors are decoded
    const auto bytes = info.shape.size() == 1 ? checked_mul(info.shape[0], sizeof(float)) : info.byte_len;
    const auto sum = bytes ? checked_add(memory.weights, *bytes) : std::nullopt;
    if (!sum) return error(ErrorKind::BufferAllocationError, "the weights need more than 2^64 bytes");
    memory.weights = *sum;
  }
  return memory;
}

std::optional<std::uint64_t> sum_of(const ModelMemory& memory) {
  const auto both = checked_add(memory.kv_cache, memory.activations);
  return both ? checked_add(*both, memory.weights) : std::nullopt;
}

}  // namespace mlx_native
