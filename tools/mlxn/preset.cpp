#include "preset.h"

#include <fmt/format.h>

#include <string>

namespace mlxn {

namespace {

using mlx_native::GgufFile;
using mlx_native::MetadataValue;
using mlx_native::TensorInfo;

constexpr std::uint32_t kContext = 40960;
constexpr float kRopeBase = 1e6f, kRmsEps = 1e-6f;

constexpr std::uint32_t kVocabulary = 151936, kWords = 151643;
constexpr Preset kPresets[] = {
    // clang-format off
    //                                           layers   dim    ffn heads kv  head experts used ffn  tied
    {"qwen3",    "0.6b",    "Qwen3 0.6B shape",     28, 1024,  3072, 16, 8, 128,    0, 0,   0, true,  kVocabulary, kWords},
    {"qwen3",    "1.7b",    "Qwen3 1.7B shape",     28, 2048,  6144, 16, 8, 128,    0, 0,   0, true,  kVocabulary, kWords},
    {"qwen3",    "8b",      "Qwen3 8B shape",       36, 4096, 12288, 32, 8, 128,    0, 0,   0, false, kVocabulary, kWords},
    {"qwen3moe", "30b-a3b", "Qwen3 30B A3B shape",  48, 2048,  6144, 32, 4, 128,  128, 8, 768, false, kVocabulary, kWords},
    // Small enough for a test.
    {"qwen3",    "tiny",    "Qwen3 tiny shape",      2,  256,   512,  4, 2, 128,    0, 0,   0, true,  1024, 1000},
    {"qwen3moe", "tiny",    "Qwen3 MoE tiny shape",  2,  256,   512,  4, 2, 128,    8, 2, 256, false, 1024, 1000},
    // clang-format on
};

TensorInfo tensor(std::string name, mlx_native::Shape shape) {
  return {std::move(name), std::move(shape), mlx_native::GgmlType::F32, 0, 0};
}

void add_layer(std::vector<TensorInfo>& all, const Preset& preset, std::uint32_t layer) {
  const std::size_t dim = preset.dim, query = std::size_t{preset.heads} * preset.head_dim,
                    key = std::size_t{preset.kv_heads} * preset.head_dim;
  const auto add = [&](std::string_view name, mlx_native::Shape shape) {
    all.push_back(tensor(fmt::format("blk.{}.{}.weight", layer, name), std::move(shape)));
  };
  add("attn_norm", {dim});
  add("attn_q", {query, dim});
  add("attn_k", {key, dim});
  add("attn_v", {key, dim});
  add("attn_q_norm", {preset.head_dim});
  add("attn_k_norm", {preset.head_dim});
  add("attn_output", {dim, query});
  add("ffn_norm", {dim});
  if (preset.experts) {
    const std::size_t experts = preset.experts, inner = preset.expert_ffn_dim;
    add("ffn_gate_inp", {experts, dim});
    add("ffn_gate_exps", {experts, inner, dim});
    add("ffn_up_exps", {experts, inner, dim});
    add("ffn_down_exps", {experts, dim, inner});
  } else {
    const std::size_t inner = preset.ffn_dim;
    add("ffn_gate", {inner, dim});
    add("ffn_up", {inner, dim});
    add("ffn_down", {dim, inner});
  }
}

}  // namespace

std::span<const Preset> presets() { return kPresets; }

std::vector<GgufFile::MetadataEntry> shape_metadata(const Preset& preset) {
  std::vector<GgufFile::MetadataEntry> entries;
  const auto add = [&](std::string_view key, auto value) {
    entries.push_back({fmt::format("{}.{}", preset.architecture, key), MetadataValue{MetadataValue::Scalar(value)}});
  };
  add("block_count", preset.layers);
  add("context_length", kContext);
  add("embedding_length", preset.dim);
  add("feed_forward_length", preset.ffn_dim);
  add("attention.head_count", preset.heads);
  add("attention.head_count_kv", preset.kv_heads);
  add("rope.freq_base", kRopeBase);
  add("attention.layer_norm_rms_epsilon", kRmsEps);
  add("attention.key_length", preset.head_dim);
  add("attention.value_length", preset.head_dim);
  if (preset.experts) {
    add("expert_count", preset.experts);
    add("expert_used_count", preset.experts_used);
    add("expert_feed_forward_length", preset.expert_ffn_dim);
  }
  return entries;
}

std::vector<TensorInfo> tensors_of(const Preset& preset) {
  std::vector<TensorInfo> all;
  if (!preset.tied_embeddings) all.push_back(tensor("output.weight", {preset.vocabulary, preset.dim}));
  all.push_back(tensor("token_embd.weight", {preset.vocabulary, preset.dim}));
  for (std::uint32_t layer = 0; layer < preset.layers; ++layer) add_layer(all, preset, layer);
  all.push_back(tensor("output_norm.weight", {preset.dim}));
  return all;
}

}  // namespace mlxn
