#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "mlx_native/gguf.h"
#include "mlx_native/quantize.h"
#include "mlx_native/safetensors.h"

namespace mlx_native::hostile {

/// Reads the first and last byte, where a wrong extent shows.
inline std::size_t touch(std::span<const std::uint8_t> bytes) {
  return bytes.empty() ? 0 : std::size_t{bytes.front()} + bytes.back();
}

/// Calls every accessor for everything in `file`, and decodes the first block of every tensor. Returns something that
/// depends on all of it. -1 where the file contradicts itself.
inline std::ptrdiff_t touch(const GgufFile& file) {
  std::size_t sum = file.version() + file.file_bytes() + file.path().native().size() + file.tensor_names().size();
  for (const auto& [key, value] : file.metadata()) {
    if (file.metadata(key) != &value) return -1;
    sum +=
        value.as_u64().value_or(1) + static_cast<std::size_t>(value.as_i64().value_or(2)) + value.as_u32().value_or(3);
    sum += value.as_f32().has_value() + value.as_bool().value_or(false) + value.array_size().value_or(4);
    if (const auto* text = value.as_string()) sum += text->size();
    if (const auto* texts = value.as_array<std::string>())
      for (const auto& text : *texts) sum += text.size();
    sum += file.metadata_string(key).has_value() + file.metadata_f32(key).has_value() +
           file.metadata_bool(key).has_value() + file.metadata_u32(key).has_value() +
           file.metadata_u64(key).has_value();
  }
  for (const auto& tensor : file.tensors()) {
    if (file.tensor_info(tensor.name) != &tensor) return -1;
    const auto layout = ggml_layout(tensor.ggml_type);
    const auto bytes = file.tensor_bytes(tensor.name);
    if (bytes.has_value() != layout.has_value() || tensor.shape.empty()) return -1;
    if (!bytes) continue;
    if (bytes->size() != tensor.byte_len || bytes->size() < layout->block_bytes) return -1;
    sum += touch(*bytes);
    // Copied: the block's alignment is not what is asked here.
    const std::vector<std::uint8_t> block(bytes->begin(), bytes->begin() + layout->block_bytes);
    if (const auto values = dequantize(tensor.ggml_type, block)) sum += values->size();
  }
  return static_cast<std::ptrdiff_t>(sum >> 1);
}

inline std::ptrdiff_t touch(const SafetensorsFile& file) {
  std::size_t sum = file.tensor_names().size() + file.metadata("format").value_or("").size();
  for (const auto& tensor : file.tensors()) {
    if (file.tensor_info(tensor.name) != &tensor) return -1;
    const auto bytes = file.tensor_bytes(tensor.name);
    if (!bytes || bytes->size() != tensor.byte_len) return -1;
    sum += touch(*bytes) + tensor.dtype_text.size() + tensor.shape.size();
  }
  return static_cast<std::ptrdiff_t>(sum >> 1);
}

}  // namespace mlx_native::hostile
