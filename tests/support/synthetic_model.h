// Tiny models with random weights, written as GGUF files, to be spoilt or compared with a plain forward pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mlx_native/gguf.h"
#include "mlx_native/quantize.h"
#include "support/temp_dir.h"

namespace mlx_native::test {

struct SyntheticTensor {
  std::string name;
  Shape shape;  ///< outermost first
  GgmlType type;
  std::vector<float> values;  ///< before encoding
};

/// Dimensions: 2 layers, width 64, 4 heads of 16, 2 KV heads, FFN 96 (experts: 6 of 32, 2 used), 40 tokens, context 64.
struct SyntheticModel {
  std::string architecture;
  std::vector<std::pair<std::string, MetadataValue>> metadata;
  std::vector<SyntheticTensor> tensors;

  static constexpr std::uint32_t kLayers = 2, kDim = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kFfn = 96,
                                 kVocab = 40, kContext = 64, kExperts = 6, kExpertsUsed = 2, kExpertFfn = 32;
  static constexpr float kEps = 1e-5f, kTheta = 1000.0f;

  template <class T>
  static MetadataValue scalar(T value) {
    return {MetadataValue::Scalar(std::move(value))};
  }
  template <class T>
  static MetadataValue array(std::vector<T> values) {
    return {MetadataValue::Array(std::move(values))};
  }

  /// Sets a key; those that start with '.' belong to the architecture.
  void set(const std::string& key, MetadataValue value) {
    erase(key);
    metadata.emplace_back(full(key), std::move(value));
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void set(const std::string& key, T value) { set(key, scalar(value)); }
  void set(const std::string& key, const char* value) { set(key, scalar(std::string(value))); }
  void erase(const std::string& key) {
    std::erase_if(metadata, [&](const auto& entry) { return entry.first == full(key); });
  }

  SyntheticTensor& tensor(std::string_view name) {
    const auto found = std::ranges::find(tensors, name, &SyntheticTensor::name);
    if (found == tensors.end()) throw std::runtime_error("no tensor " + std::string(name));
    return *found;
  }
  const SyntheticTensor* find(std::string_view name) const {
    const auto found = std::ranges::find(tensors, name, &SyntheticTensor::name);
    return found == tensors.end() ? nullptr : &*found;
  }
  void drop(std::string_view name) { tensors.erase(tensors.begin() + (&tensor(name) - tensors.data())); }
  void reshape(std::string_view name, Shape shape) {
    SyntheticTensor& t = tensor(name);
    std::size_t n = 1;
    for (const std::size_t extent : shape) n *= extent;
    t.shape = std::move(shape);
    t.values.resize(n);
  }

  /// Values of both signs, with a variance that keeps activations near one.
  void add(const std::string& name, Shape shape, GgmlType type = GgmlType::F32, float mean = 0.0f,
           float spread = 0.0f) {
    std::size_t n = 1;
    for (const std::size_t extent : shape) n *= extent;
    if (spread == 0.0f) spread = 1.5f / std::sqrt(static_cast<float>(shape.back()));
    std::normal_distribution<float> normal(mean, spread);
    std::vector<float> values(n);
    for (float& value : values) value = normal(random_);
    tensors.push_back({name, std::move(shape), type, std::move(values)});
  }
  void add_norm(const std::string& name, std::size_t n) { add(name, {n}, GgmlType::F32, 1.0f, 0.2f); }

  /// "llama", "qwen3" or "qwen3moe"; the matrices of that type where a row is a multiple of its block.
  static SyntheticModel create(const std::string& architecture, GgmlType type = GgmlType::F32) {
    SyntheticModel m;
    m.architecture = architecture;
    m.set("general.architecture", architecture.c_str());
    m.set("general.name", "synthetic");
    m.set(".block_count", kLayers);
    m.set(".context_length", kContext);
    m.set(".embedding_length", kDim);
    m.set(".feed_forward_length", kFfn);
    m.set(".attention.head_count", kHeads);
    m.set(".attention.head_count_kv", kKvHeads);
    m.set(".attention.key_length", kHeadDim);
    m.set(".attention.value_length", kHeadDim);
    m.set(".attention.layer_norm_rms_epsilon", kEps);
    m.set(".rope.freq_base", kTheta);
    m.set(".rope.dimension_count", kHeadDim);
    const bool moe = architecture == "qwen3moe", head_norms = architecture != "llama";
    if (moe) {
      m.set(".expert_count", kExperts);
      m.set(".expert_used_count", kExpertsUsed);
      m.set(".expert_feed_forward_length", kExpertFfn);
    }
    m.add("token_embd.weight", {kVocab, kDim}, type, 0.0f, 1.0f);
    m.add_norm("output_norm.weight", kDim);
    if (!moe) m.add("output.weight", {kVocab, kDim}, type);
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::string blk = "blk." + std::to_string(layer) + ".";
      m.add_norm(blk + "attn_norm.weight", kDim);
      m.add(blk + "attn_q.weight", {kHeads * kHeadDim, kDim}, type);
      m.add(blk + "attn_k.weight", {kKvHeads * kHeadDim, kDim}, type);
      m.add(blk + "attn_v.weight", {kKvHeads * kHeadDim, kDim}, type);
      m.add(blk + "attn_output.weight", {kDim, kHeads * kHeadDim}, type);
      if (head_norms) {
        m.add_norm(blk + "attn_q_norm.weight", kHeadDim);
        m.add_norm(blk + "attn_k_norm.weight", kHeadDim);
      }
      m.add_norm(blk + "ffn_norm.weight", kDim);
      if (moe) {
        m.add(blk + "ffn_gate_inp.weight", {kExperts, kDim});
        m.add(blk + "ffn_gate_exps.weight", {kExperts, kExpertFfn, kDim}, type);
        m.add(blk + "ffn_up_exps.weight", {kExperts, kExpertFfn, kDim}, type);
        m.add(blk + "ffn_down_exps.weight", {kExperts, kDim, kExpertFfn}, type);
      } else {
        m.add(blk + "ffn_gate.weight", {kFfn, kDim}, type);
        m.add(blk + "ffn_up.weight", {kFfn, kDim}, type);
        m.add(blk + "ffn_down.weight", {kDim, kFfn}, type);
      }
    }
    return m;
  }

  Result<GgufFile> write(const std::filesystem::path& path) const {
    auto writer = GgufWriter::create(path).value();
    for (const auto& [key, value] : metadata) must(writer.add_metadata(key, value));
    for (const SyntheticTensor& t : tensors) must(writer.add_tensor(t.name, t.shape, t.type));
    for (const SyntheticTensor& t : tensors) {
      // Types without an encoder are there to be refused: any bytes do.
      auto blocks = quantize(t.type, t.values);
      if (!blocks) {
        const GgmlLayout layout = ggml_layout(t.type).value();
        blocks = std::vector<std::uint8_t>(t.values.size() / layout.block_values * layout.block_bytes);
      }
      must(writer.write(*blocks));
    }
    must(writer.finish());
    return GgufFile::open(path);
  }

 private:
  static void must(const Result<void>& result) {
    if (!result) throw std::runtime_error(result.error().message);
  }
  std::string full(const std::string& key) const { return key.starts_with('.') ? architecture + key : key; }

  std::mt19937 random_{11};
};

}  // namespace mlx_native::test
