// Decode and encode by run-time type, over the list of formats.
#pragma once

#include <cstdint>

#include "mlx_native/ggml_type.h"

namespace mlx_native {

/// Bytes need no alignment. Different blocks may be coded by different threads at once.
struct Codec {
  GgmlType type;
  std::uint32_t block_values, block_bytes;
  void (*decode)(const std::uint8_t* blocks, std::uint64_t n_blocks, float* values);
  /// Values finite; `importance` null, or one finite weight >= 0 per value.
  void (*encode)(const float* values, const float* importance, std::uint64_t n_blocks, std::uint8_t* blocks);
};

/// Null for a type outside weight_formats().
const Codec* find_codec(GgmlType type);

}  // namespace mlx_native
