// Shapes of public models, as their configurations give them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "mlx_native/gguf.h"

namespace mlxn {

struct Preset {
  std::string_view architecture, name;  ///< as on the command line: "qwen3", "0.6b"
  std::string_view title;
  std::uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim;
  std::uint32_t experts, experts_used, expert_ffn_dim;  ///< 0: dense
  bool tied_embeddings;
  std::uint32_t vocabulary, words;  ///< tokens, and how many of them byte-level BPE makes
};

std::span<const Preset> presets();

/// The keys of the architecture, without general.* and tokenizer.*.
std::vector<mlx_native::GgufFile::MetadataEntry> shape_metadata(const Preset& preset);

/// All tensors in the order of llama.cpp's files: F32, without offsets.
std::vector<mlx_native::TensorInfo> tensors_of(const Preset& preset);

}  // namespace mlxn
