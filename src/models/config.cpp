// The keys `<architecture>.*` of a file, each checked before anything is built on it.
#include <cmath>

#include "mlx_native/models/model.h"
#include "models/architecture.h"
#include "models/malformed.h"

namespace mlx_native {
namespace {

// No model comes near these; they keep every product of two of them far inside 64 bits.
constexpr std::uint32_t kMaxLayers = 512;
constexpr std::uint32_t kMaxContext = 1u << 27;
constexpr std::uint32_t kMaxWidth = 1u << 24;
constexpr std::uint32_t kMaxHeads = 1u << 16;
constexpr std::uint32_t kMaxExperts = 1u << 16;

class Keys {
 public:
  Keys(const GgufFile& file, std::string_view architecture) : file_(file), prefix_(fmt::format("{}.", architecture)) {}

  std::string key(std::string_view suffix) const { return prefix_ + std::string(suffix); }
  const MetadataValue* find(std::string_view suffix) const { return file_.metadata(key(suffix)); }

  /// An integer in [1, max].
  Result<std::uint32_t> count(std::string_view suffix, std::uint32_t max) const {
    const MetadataValue* value = find(suffix);
    if (!value) return malformed("{} is missing", key(suffix));
    const auto number = value->as_u64();
    if (!number) return malformed("{} is not an unsigned integer", key(suffix));
    if (*number == 0 || *number > max) return malformed("{} is {}; it must be 1 to {}", key(suffix), *number, max);
    return static_cast<std::uint32_t>(*number);
  }
  Result<std::uint32_t> count_or(std::string_view suffix, std::uint32_t max, std::uint32_t otherwise) const {
    return find(suffix) ? count(suffix, max) : otherwise;
  }

  /// A finite number > 0.
  Result<float> positive(std::string_view suffix) const {
    const MetadataValue* value = find(suffix);
    if (!value) return malformed("{} is missing", key(suffix));
    const auto number = value->as_f32();
    if (!number) return malformed("{} is not a number", key(suffix));
    if (!std::isfinite(*number) || *number <= 0)
      return malformed("{} is {}; it must be finite and positive", key(suffix), *number);
    return *number;
  }
  Result<float> positive_or(std::string_view suffix, float otherwise) const {
    return find(suffix) ? positive(suffix) : otherwise;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

Result<void> read_heads(const Keys& keys, ModelConfig& config) {
  MLXN_ASSIGN(config.n_heads, keys.count("attention.head_count", kMaxHeads));
  MLXN_ASSIGN(config.n_kv_heads, keys.count_or("attention.head_count_kv", kMaxHeads, config.n_heads));
  if (config.n_heads % config.n_kv_heads)
    return malformed("{} is {}, which is not a multiple of {}, {}", keys.key("attention.head_count"), config.n_heads,
                     keys.key("attention.head_count_kv"), config.n_kv_heads);
  if (keys.find("attention.key_length")) {
    MLXN_ASSIGN(config.head_dim, keys.count("attention.key_length", kMaxWidth));
  } else {
    if (config.dim % config.n_heads)
      return malformed("{} is {}, which {} heads do not divide", keys.key("embedding_length"), config.dim,
                       config.n_heads);
    config.head_dim = config.dim / config.n_heads;
  }
  MLXN_ASSIGN(const std::uint32_t value_length, keys.count_or("attention.value_length", kMaxWidth, config.head_dim));
  if (value_length != config.head_dim)
    return malformed("{} is {}, but keys have {}; both must be equal", keys.key("attention.value_length"), value_length,
                     config.head_dim);
  return {};
}

Result<void> read_rope(const Keys& keys, ModelConfig& config) {
  MLXN_ASSIGN(config.rope_dim, keys.count_or("rope.dimension_count", kMaxWidth, config.head_dim));
  if (config.rope_dim % 2 || config.rope_dim > config.head_dim)
    return malformed("{} is {}; it must be even and at most {}, the length of a head", keys.key("rope.dimension_count"),
                     config.rope_dim, config.head_dim);
  MLXN_ASSIGN(config.rope_theta, keys.positive_or("rope.freq_base", 10000.0f));
  config.rope_freq_scale = 1.0f;
  const MetadataValue* scaling = keys.find("rope.scaling.type");
  const std::string* type = scaling ? scaling->as_string() : nullptr;
  if (scaling && (!type || (*type != "none" && *type != "linear")))
    return malformed("{} is {}; known are \"none\" and \"linear\"", keys.key("rope.scaling.type"),
                     type ? fmt::format("\"{}\"", *type) : "not a string");
  // As llama.cpp has it, a factor alone is linear.
  if (type ? *type == "linear" : keys.find("rope.scaling.factor") != nullptr) {
    MLXN_ASSIGN(const float factor, keys.positive("rope.scaling.factor"));
    config.rope_freq_scale = 1.0f / factor;
    if (!std::isfinite(config.rope_freq_scale))
      return malformed("{} is {}, too small to divide by", keys.key("rope.scaling.factor"), factor);
  }
  return {};
}

Result<void> read_experts(const Keys& keys, ModelConfig& config) {
  config.n_experts = config.n_experts_used = 0;
  const MetadataValue* count = keys.find("expert_count");
  if (!count || count->as_u64() == 0u) {
    MLXN_ASSIGN(config.ffn_dim, keys.count("feed_forward_length", kMaxWidth));
    return {};
  }
  MLXN_ASSIGN(config.n_experts, keys.count("expert_count", kMaxExperts));
  MLXN_ASSIGN(config.n_experts_used, keys.count("expert_used_count", config.n_experts));
  const bool own_width = keys.find("expert_feed_forward_length");
  MLXN_ASSIGN(config.ffn_dim, keys.count(own_width ? "expert_feed_forward_length" : "feed_forward_length", kMaxWidth));
  if (const MetadataValue* norm = keys.find("expert_weights_norm")) {
    if (!norm->as_bool()) return malformed("{} is not a boolean", keys.key("expert_weights_norm"));
    config.renormalize_experts = *norm->as_bool();
  }
  return {};
}

/// Rows of the embedding table, which the vocabulary must agree with.
Result<std::uint32_t> read_vocab_size(const GgufFile& file, const Keys& keys, std::uint32_t dim) {
  const TensorInfo* table = file.tensor_info("token_embd.weight");
  if (!table) return malformed("the tensor token_embd.weight is missing");
  if (table->shape.size() != 2 || table->shape[1] != dim)
    return malformed("the rows of token_embd.weight do not have {} values, {}", dim, keys.key("embedding_length"));
  const std::size_t n_vocab = table->shape[0];
  if (n_vocab > INT32_MAX) return malformed("token_embd.weight has {} rows; 2^31 - 1 are possible", n_vocab);
  const MetadataValue* tokens = file.metadata("tokenizer.ggml.tokens");
  if (tokens && tokens->array_size() != n_vocab)
    return malformed("tokenizer.ggml.tokens is not an array of {} tokens, one for each row of token_embd.weight",
                     n_vocab);
  if (const MetadataValue* size = keys.find("vocab_size"); size && size->as_u64() != n_vocab)
    return malformed("{} is not {}, the rows of token_embd.weight", keys.key("vocab_size"), n_vocab);
  return static_cast<std::uint32_t>(n_vocab);
}

}  // namespace

Result<ModelConfig> read_model_config(const GgufFile& file) {
  const MetadataValue* architecture = file.metadata("general.architecture");
  if (!architecture || !architecture->as_string()) return malformed("general.architecture is missing or not a string");
  ModelConfig config{.architecture = *architecture->as_string(),
                     .name = file.metadata_string("general.name").value_or(""),
                     .renormalize_experts = true};
  if (!find_architecture(config.architecture))
    return malformed("unknown architecture \"{}\"; known are {}", config.architecture,
                     fmt::join(model_architectures(), ", "));
  const Keys keys(file, config.architecture);
  MLXN_ASSIGN(config.n_layers, keys.count("block_count", kMaxLayers));
  MLXN_ASSIGN(config.context_length, keys.count("context_length", kMaxContext));
  MLXN_ASSIGN(config.dim, keys.count("embedding_length", kMaxWidth));
  MLXN_ASSIGN(config.rms_eps, keys.positive("attention.layer_norm_rms_epsilon"));
  MLXN_TRY(read_heads(keys, config));
  MLXN_TRY(read_rope(keys, config));
  MLXN_TRY(read_experts(keys, config));
  MLXN_ASSIGN(config.n_vocab, read_vocab_size(file, keys, config.dim));
  return config;
}

}  // namespace mlx_native
