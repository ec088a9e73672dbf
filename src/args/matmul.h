#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// output[m, n] = input[m, k] * weight[n, k]^T; a row of weight is row_bytes bytes of blocks.
struct MatmulArgs {
  const K_GLOBAL uint8_t* weight;
  const K_GLOBAL float* input;
  K_GLOBAL float* output;
  K_GLOBAL uint8_t* scratch;  // as many bytes as the kernel asked for
  uint64_t row_bytes;
  uint32_t m, n, k;
};

/// output[t * top_k + s, :] = input[t, :] * weight[ids[t * top_k + s]]^T; NaN for an id >= n_experts.
struct MatmulIdArgs {
  const K_GLOBAL uint8_t* weight;
  const K_GLOBAL float* input;
  const K_GLOBAL uint32_t* ids;
  K_GLOBAL float* output;
  K_GLOBAL uint8_t* scratch;
  uint64_t row_bytes, expert_stride;
  uint32_t n_tokens, top_k, n, k, n_experts;
};

}  // namespace mlx_native
