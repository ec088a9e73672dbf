#pragma once

#include "core/dialect.h"

namespace mlx_native {

struct RopeArgs {
  const K_GLOBAL float* input;
  const K_GLOBAL uint32_t* positions;
  const K_GLOBAL float* freq_factors;  // null: all 1
  K_GLOBAL float* output;              // may be input
  uint32_t n_tokens, n_heads, head_dim, rope_dim;
  uint32_t adjacent;  // 1: pairs (2 i, 2 i + 1); 0: (i, i + pair_split)
  uint32_t pair_split;
  float theta, freq_scale;
};

struct KvCacheWriteArgs {
  const K_GLOBAL float* input;
  const K_GLOBAL uint32_t* positions;
  K_GLOBAL uint8_t* cache;
  uint32_t f16;  // 1: the cache is F16; 0: F32
  uint32_t n_tokens, n_kv_heads, head_dim, kv_capacity;
};

struct AttentionArgs {
  const K_GLOBAL float* query;
  const K_GLOBAL uint8_t* k_cache;
  const K_GLOBAL uint8_t* v_cache;
  const K_GLOBAL uint32_t* positions;
  K_GLOBAL float* output;
  K_GLOBAL uint8_t* scratch;
  uint32_t f16;
  uint32_t n_tokens, n_heads, n_kv_heads, head_dim, kv_capacity;
  uint32_t causal, sliding_window;  // window 0: none
  float scale, softcap;             // softcap 0: none
  uint32_t likely_keys;             // what to be fast with
};

}  // namespace mlx_native
