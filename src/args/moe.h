#pragma once

#include "core/dialect.h"

namespace mlx_native {

struct MoeSoftmaxTopkArgs {
  const K_GLOBAL float* logits;
  K_GLOBAL uint32_t* ids;
  K_GLOBAL float* weights;
  uint32_t n_tokens, n_experts, top_k, renormalize;
};

struct MoeWeightedReduceArgs {
  const K_GLOBAL float* experts;
  const K_GLOBAL float* weights;
  K_GLOBAL float* output;
  uint32_t n_tokens, top_k, dim;
};

}  // namespace mlx_native
