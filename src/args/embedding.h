#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// output[t, :] = decoded row ids[t] of table; NaN for an id >= n_rows.
struct EmbeddingArgs {
  const K_GLOBAL uint8_t* table;
  const K_GLOBAL uint32_t* ids;
  K_GLOBAL float* output;
  uint64_t row_bytes;
  uint32_t n_tokens, n_rows, dim;
};

struct DequantizeArgs {
  const K_GLOBAL uint8_t* blocks;
  K_GLOBAL float* output;
  uint64_t n_blocks;
};

}  // namespace mlx_native
