// Arguments of kernels that do the work of several commands (runtime/fusion.h).
#pragma once

#include "args/attention.h"
#include "args/matmul.h"
#include "args/moe.h"
#include "core/dialect.h"

namespace mlx_native {

/// Queries and keys are normalised head by head (where a weight is given) and rotated; keys and values go to the cache.
/// As RmsNormArgs, RopeArgs and KvCacheWriteArgs.
struct HeadsToCacheArgs {
  const K_GLOBAL float* query_from;  // may be query
  const K_GLOBAL float* key_from;    // may be key
  K_GLOBAL float* query;
  K_GLOBAL float* key;
  const K_GLOBAL float* value;
  const K_GLOBAL float* query_norm;  // null: none
  const K_GLOBAL float* key_norm;
  const K_GLOBAL uint32_t* positions;
  const K_GLOBAL float* freq_factors;
  K_GLOBAL uint8_t* k_cache;
  K_GLOBAL uint8_t* v_cache;
  uint32_t f16;
  uint32_t n_tokens, n_heads, n_kv_heads, head_dim, kv_capacity;
  uint32_t rope_dim, adjacent, pair_split;
  float theta, freq_scale, eps;
};

/// The same for one token, not in place, and its attention.
struct HeadsAttentionArgs {
  HeadsToCacheArgs heads;
  // As AttentionArgs; the rest is in `heads`.
  K_GLOBAL float* output;
  K_GLOBAL uint8_t* scratch;
  uint32_t causal, sliding_window;
  float scale, softcap;
  uint32_t likely_keys;
};

/// sum = a + b, output = rms_norm(sum).
struct AddNormArgs {
  const K_GLOBAL float* a;
  const K_GLOBAL float* b;
  K_GLOBAL float* sum;  // may be a or b
  const K_GLOBAL float* weight;
  K_GLOBAL float* output;
  uint32_t rows, dim;
  float eps;
};

/// The logits of tokens' experts, and which of them they get.
struct RouterArgs {
  MatmulArgs product;
  MoeSoftmaxTopkArgs topk;  // of product.output
};

/// The weighted sum of experts' results, and sum = residual + that.
struct MoeReduceAddArgs {
  MoeWeightedReduceArgs reduce;
  const K_GLOBAL float* residual;
  K_GLOBAL float* sum;  // may be residual; null: no such sum
};

/// A product with what lies around it. What is null is not there.
struct FusedMatmulArgs {
  MatmulArgs product;
  // The product's input is rms_norm(product.input), which is also written to `normed`, if there is one.
  const K_GLOBAL float* norm;
  K_GLOBAL float* normed;
  // A second weight of the same shape and format: gated = silu(product) * second product. `gated` may be one of both.
  const K_GLOBAL uint8_t* up;
  K_GLOBAL float* up_output;
  K_GLOBAL float* gated;
  // sum = residual + product; `sum` may be `residual`.
  const K_GLOBAL float* residual;
  K_GLOBAL float* sum;
  float eps;  // of the norm
};

/// The same of routed products.
struct FusedMatmulIdArgs {
  MatmulIdArgs product;
  const K_GLOBAL uint8_t* up;
  K_GLOBAL float* up_output;
  K_GLOBAL float* gated;
};

}  // namespace mlx_native
