// What happens between the products of a token's queries, keys and values, and attention: norms, RoPE, the cache.
#pragma once

#include "args/fused.h"
#include "gpu/kernels/rope.h"

namespace mlx_native::gpu {

struct HeadsProblem {
  HeadsToCacheArgs heads;
  RopeProblem rope;
  uint32_t parts;  // of a token's heads, a group for each
};

struct HeadsShape {
  K_STATIC int kThreads = 256;
  K_STATIC uint32_t kMostDim = 256;
  K_STATIC int kScratchBytes = (1 + 8) * 256 * 4;  // sines and cosines, then a head per simdgroup
};

/// Sines and cosines of the unit's token, to the beginning of scratch. Reads positions and factors alone.
template <class Thread>
K_FN void heads_angles(Thread t, K_CONST const HeadsProblem& p, uint64_t unit, K_SHARED float* scratch) {
  if (unit >= uint64_t(p.heads.n_tokens) * p.parts) return;
  const uint32_t position = p.heads.positions[unit / p.parts];
  for (uint32_t pair = t.thread_in_group(); pair < p.heads.rope_dim / 2; pair += t.threads_in_group()) {
    const SineCosine r = rotation(p.rope, pair, position);
    scratch[2 * pair] = r.sine;
    scratch[2 * pair + 1] = r.cosine;
  }
}

K_FN void store_in_cache(K_GLOBAL uint8_t* cache, uint64_t at, float x, uint32_t f16) {
  if (f16)
    reinterpret_cast<K_GLOBAL uint16_t*>(cache)[at] = float_to_half(x);
  else
    reinterpret_cast<K_GLOBAL float*>(cache)[at] = x;
}

/// A lane's values of a head, of which it keeps so many: every 32nd.
template <uint32_t kKept>
struct HeadRow {
  float v[kKept];
};
/// Null: `missing` everywhere.
template <uint32_t kKept, class Thread>
K_FN HeadRow<kKept> load_head(Thread t, const K_GLOBAL float* from, uint32_t n, float missing) {
  HeadRow<kKept> row;
  K_UNROLL
  for (uint32_t j = 0; j < kKept; ++j) {
    const uint32_t i = t.lane() + 32 * j;
    row.v[j] = from && i < n ? from[i] : missing;
  }
  return row;
}

/// A row to `head`, if it `is`: normed where there is a weight, and rotated by `angles` (heads_angles) where it
/// `rotates`. By a simdgroup, while all others that its barrier waits for do the same for theirs.
template <class Thread, uint32_t kKept>
K_FN void make_head(Thread t, K_CONST const HeadsProblem& p, HeadRow<kKept> row, bool has_norm, HeadRow<kKept> norm,
                    bool is, bool rotates, const K_SHARED float* angles, K_SHARED float* head) {
  K_CONST const HeadsToCacheArgs& a = p.heads;
  float sum = 0.0f;
  K_UNROLL
  for (uint32_t j = 0; j < kKept; ++j) sum = multiply_add(row.v[j], row.v[j], sum);
  sum = t.simd_sum(sum);
  const float r = has_norm ? 1.0f / square_root(sum / float(a.head_dim) + a.eps) : 1.0f;
  K_UNROLL
  for (uint32_t j = 0; j < kKept; ++j) {
    const uint32_t i = t.lane() + 32 * j;
    if (is && i < a.head_dim) head[i] = has_norm ? row.v[j] * r * norm.v[j] : row.v[j];
  }
  t.barrier();
  for (uint32_t pair = t.lane(); pair < a.rope_dim / 2 && is && rotates; pair += 32) {
    const uint32_t first = a.adjacent ? 2 * pair : pair, second = first + a.pair_split;
    const float x = head[first], y = head[second], sine = angles[2 * pair], cosine = angles[2 * pair + 1];
    head[first] = x * cosine - y * sine;
    head[second] = x * sine + y * cosine;
  }
  t.barrier();
}
/// From memory; null: none.
template <class Thread>
K_FN void make_head(Thread t, K_CONST const HeadsProblem& p, const K_GLOBAL float* from, const K_GLOBAL float* norm,
                    bool rotates, const K_SHARED float* angles, K_SHARED float* head) {
  const uint32_t n = p.heads.head_dim;
  constexpr uint32_t kKept = HeadsShape::kMostDim / 32;
  const HeadRow<kKept> row = load_head<kKept>(t, from, n, 0.0f), weight = load_head<kKept>(t, norm, n, 1.0f);
  make_head(t, p, row, norm != nullptr, weight, from != nullptr, rotates, angles, head);
}

/// A group for a part of a token's heads, a simdgroup for one of them at a time: first queries, then keys, then values.
/// scratch begins with the first unit's angles.
template <class Thread>
K_FN void heads_to_cache(Thread t, K_CONST const HeadsProblem& p, K_SHARED float* scratch) {
  K_CONST const HeadsToCacheArgs& a = p.heads;
  K_SHARED float* const head = scratch + (1 + t.simdgroup()) * HeadsShape::kMostDim;
  const uint32_t rows = a.n_heads + 2 * a.n_kv_heads;
  const uint32_t rounds = ((rows - 1) / p.parts) / t.simdgroups() + 1;
  for (uint64_t unit = t.group(); unit < uint64_t(a.n_tokens) * p.parts; unit += t.groups()) {
    const uint64_t token = unit / p.parts;
    if (unit != t.group()) heads_angles(t, p, unit, scratch);
    for (uint32_t round = 0; round < rounds; ++round) {
      const uint32_t row = (uint32_t(unit % p.parts) * rounds + round) * t.simdgroups() + t.simdgroup();
      const bool is_query = row < a.n_heads, is_key = !is_query && row < a.n_heads + a.n_kv_heads, is = row < rows;
      const uint32_t kv_head = is_query || !is ? 0 : (row - a.n_heads) % a.n_kv_heads;
      const uint64_t at = (is_query ? token * a.n_heads + row : token * a.n_kv_heads + kv_head) * a.head_dim;
      const uint64_t slot = (uint64_t(kv_head) * a.kv_capacity + a.positions[token] % a.kv_capacity) * a.head_dim;
      const K_GLOBAL float* const from = (is_query ? a.query_from : is_key ? a.key_from : a.value) + at;
      const K_GLOBAL float* const norm = is_query ? a.query_norm : is_key ? a.key_norm : nullptr;
      make_head(t, p, is ? from : nullptr, norm, is_query || is_key, scratch, head);
      K_GLOBAL float* const to = (is_query ? a.query : a.key) + at;
      for (uint32_t i = t.lane(); i < a.head_dim && is; i += 32) {
        const float x = head[i];
        if (is_query || is_key) to[i] = x;
        if (!is_query) store_in_cache(is_key ? a.k_cache : a.v_cache, slot + i, x, a.f16);
      }
      t.barrier();
    }
  }
}

}  // namespace mlx_native::gpu
