// Softmax attention over the KV cache, the softmax made online over steps of 32 keys.
//
// All query rows of one KV head, (token, head of the group), form a matrix. A simdgroup takes kRows of them over a part
// of their keys: lanes share a key's values for the scores, then each lane keeps the score of one key of the step, and
// for the sums lanes share the values of V. Steps start at multiples of 32 positions, and what a row does not see has
// weight 0, so that a row does not depend on those beside it. Where few rows meet many keys, splits of the keys go to
// several simdgroups, whose partial sums a second kernel adds in order.
#pragma once

#include "args/attention.h"
#include "gpu/kernels/math.h"

namespace mlx_native::gpu {

/// Partials in scratch: sums of values [splits, rows, head_dim], then (maximum, sum of weights) [splits, rows], where a
/// row is token * n_heads + head.
struct AttentionProblem {
  K_STATIC bool kMakesHeads = false;
  AttentionArgs attention;
  uint32_t splits;
};

struct AttentionShape {
  K_STATIC int kThreads = 128;
  K_STATIC uint32_t kStep = 32;
  K_STATIC int kMostSplits = 64;  // two states a lane
};

template <int kPack, int kChunks>
struct LaneValues {
  float v[kPack * kChunks];
};

template <class T, int kPack>
struct alignas(sizeof(T) * kPack) Pack {
  T v[kPack];
};

K_FN float as_float(float x) { return x; }
K_FN float as_float(uint16_t half_bits) { return half_to_float(half_bits); }

/// This lane's share of the n values at `row`, which is aligned for packs: packs `lane`, lane + 32 and so on.
template <class T, int kPack, int kChunks>
K_FN LaneValues<kPack, kChunks> load_share(const K_GLOBAL T* row, uint32_t lane, uint32_t n) {
  LaneValues<kPack, kChunks> values;
  K_UNROLL
  for (int c = 0; c < kChunks; ++c) {
    const uint32_t i = (32 * uint32_t(c) + lane) * kPack;
    Pack<T, kPack> pack = {};
    if (i < n) pack = *reinterpret_cast<const K_GLOBAL Pack<T, kPack>*>(row + i);
    K_UNROLL
    for (int j = 0; j < kPack; ++j) values.v[c * kPack + j] = as_float(pack.v[j]);
  }
  return values;
}

struct Positions {
  uint64_t begin, end;
};

/// What the query of this position sees, where `last` is the last token's.
K_FN Positions visible(K_CONST const AttentionArgs& a, uint64_t position, uint64_t last) {
  const uint64_t end = (a.causal && position < last ? position : last) + 1;
  uint64_t begin = last >= a.kv_capacity ? last - a.kv_capacity + 1 : 0;
  if (a.sliding_window && position >= a.sliding_window && position - a.sliding_window + 1 > begin)
    begin = position - a.sliding_window + 1;
  return {begin < end ? begin : end, end};
}
K_FN Positions visible(K_CONST const AttentionArgs& a, uint64_t position) {
  return visible(a, position, a.positions[a.n_tokens - 1]);
}

/// Slots of consecutive positions, at most as many as there are slots.
struct Ring {
  uint64_t first_position, first_slot, capacity;

  K_FN uint64_t slot(uint64_t position) const {
    const uint64_t at = first_slot + (position - first_position);
    return at < capacity ? at : at - capacity;
  }
};

K_FN uint64_t clamp_to(Positions range, uint64_t position) {
  return position < range.begin ? range.begin : position < range.end ? position : range.end - 1;
}

template <class T, int kPack, int kChunks, int kRows, class Thread>
K_FN void attend(Thread t, K_CONST const AttentionProblem& p, K_SHARED float*) {
  using Share = LaneValues<kPack, kChunks>;
  constexpr int kShare = kPack * kChunks;
  constexpr uint32_t kStep = AttentionShape::kStep, kSlice = 32 * kShare;  // kSlice: values of V that a simdgroup sums
  constexpr uint32_t kAhead = kShare > 8 ? 2 : kShare > 4 ? 4 : 16;        // keys whose loads are in flight together
  K_CONST const AttentionArgs& a = p.attention;
  const uint64_t group = a.n_heads / a.n_kv_heads, rows = a.n_tokens * group, tiles = (rows - 1) / kRows + 1;
  const uint32_t slices = (a.head_dim - 1) / kSlice + 1;
  const uint64_t units = tiles * p.splits * slices * a.n_kv_heads;
  for (uint64_t unit = uint64_t(t.group()) * t.simdgroups() + t.simdgroup(); unit < units;
       unit += uint64_t(t.groups()) * t.simdgroups()) {
    const uint32_t split = uint32_t(unit % p.splits);
    const uint64_t tile = unit / p.splits % tiles, head_slice = unit / p.splits / tiles;
    const uint64_t kv_head = head_slice / slices;
    const uint32_t slice = uint32_t(head_slice % slices) * kSlice;

    uint64_t query_row[kRows];
    Positions sees[kRows], all = {~uint64_t(0), 0};
    Share query[kRows], sums[kRows];
    float row_max[kRows], weight_sum[kRows];
    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      const uint64_t row = tile * kRows + m < rows ? tile * kRows + m : rows - 1, token = row / group;
      query_row[m] = token * a.n_heads + kv_head * group + row % group;
      sees[m] = visible(a, a.positions[token]);
      if (sees[m].begin < sees[m].end) {
        all.begin = sees[m].begin < all.begin ? sees[m].begin : all.begin;
        all.end = sees[m].end > all.end ? sees[m].end : all.end;
      }
      row_max[m] = -infinity();
      weight_sum[m] = 0.0f;
      K_UNROLL
      for (int i = 0; i < kShare; ++i) {
        const uint32_t at = (32 * uint32_t(i / kPack) + t.lane()) * kPack + uint32_t(i % kPack);
        query[m].v[i] = at < a.head_dim ? a.query[query_row[m] * a.head_dim + at] : 0.0f;
        sums[m].v[i] = 0.0f;
      }
    }
    if (all.end == 0) all.begin = 0;  // nothing is seen
    const Ring ring = {all.begin, all.begin % a.kv_capacity, a.kv_capacity};
    const K_GLOBAL T* const keys =
        reinterpret_cast<const K_GLOBAL T*>(a.k_cache) + kv_head * a.kv_capacity * a.head_dim;
    const K_GLOBAL T* const values =
        reinterpret_cast<const K_GLOBAL T*>(a.v_cache) + kv_head * a.kv_capacity * a.head_dim;

    const uint64_t origin = all.begin / kStep * kStep;
    const uint64_t share = ((all.end - origin + p.splits - 1) / p.splits + kStep - 1) / kStep * kStep;
    const uint64_t start = origin + split * share, stop = start + share < all.end ? start + share : all.end;
    for (uint64_t first = start; first < stop; first += kStep) {
      const uint32_t count = stop - first < kStep ? uint32_t(stop - first) : kStep;
      float score[kRows] = {};
      for (uint32_t j0 = 0; j0 < count; j0 += kAhead) {
        const K_GLOBAL T* key[kAhead];
        Share k[kAhead];
        K_UNROLL
        for (uint32_t j = 0; j < kAhead; ++j) {
          key[j] = keys + ring.slot(clamp_to(all, first + j0 + j)) * a.head_dim;
          k[j] = load_share<T, kPack, kChunks>(key[j], t.lane(), a.head_dim);
        }
        K_UNROLL
        for (uint32_t j = 0; j < kAhead; ++j) {
          K_UNROLL
          for (int m = 0; m < kRows; ++m) {
            float dot = 0.0f;
            K_UNROLL
            for (int i = 0; i < kShare; ++i) dot = multiply_add(query[m].v[i], k[j].v[i], dot);
            if constexpr (kPack == 1)
              for (uint32_t i = kSlice + t.lane(); i < a.head_dim; i += 32)
                dot = multiply_add(a.query[query_row[m] * a.head_dim + i], as_float(key[j][i]), dot);
            dot = t.simd_sum(dot);
            if (t.lane() == j0 + j) score[m] = dot;
          }
        }
      }
      const uint64_t mine = first + t.lane();
      float weight[kRows];
      K_UNROLL
      for (int m = 0; m < kRows; ++m) {
        const bool seen = mine >= sees[m].begin && mine < sees[m].end && mine < stop;
        float s = score[m] * a.scale;
        if (a.softcap != 0.0f) s = a.softcap * hyperbolic_tangent(s / a.softcap);
        const float largest = t.simd_max(seen ? s : -infinity());
        const float now = largest > row_max[m] ? largest : row_max[m], base = now == -infinity() ? 0.0f : now;
        const float factor = exponential(row_max[m] - base);
        weight[m] = seen ? exponential(s - base) : 0.0f;
        weight_sum[m] = multiply_add(weight_sum[m], factor, weight[m]);
        row_max[m] = now;
        K_UNROLL
        for (int i = 0; i < kShare; ++i) sums[m].v[i] = sums[m].v[i] * factor;
      }
      for (uint32_t j0 = 0; j0 < count; j0 += kAhead) {
        Share v[kAhead];
        K_UNROLL
        for (uint32_t j = 0; j < kAhead; ++j)
          v[j] = load_share<T, kPack, kChunks>(values + ring.slot(clamp_to(all, first + j0 + j)) * a.head_dim + slice,
                                               t.lane(), a.head_dim - slice);
        K_UNROLL
        for (uint32_t j = 0; j < kAhead; ++j) {
          K_UNROLL
          for (int m = 0; m < kRows; ++m) {
            const float w = t.simd_broadcast(weight[m], j0 + j);
            if (w == 0.0f) continue;  // not seen, whatever its value is
            K_UNROLL
            for (int i = 0; i < kShare; ++i) sums[m].v[i] = multiply_add(w, v[j].v[i], sums[m].v[i]);
          }
        }
      }
    }

    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      const float total = t.simd_sum(weight_sum[m]);
      if (tile * kRows + m >= rows) continue;
      const uint64_t all_rows = uint64_t(a.n_tokens) * a.n_heads, partial = split * all_rows + query_row[m];
      K_GLOBAL float* const scratch = reinterpret_cast<K_GLOBAL float*>(a.scratch);
      K_GLOBAL float* const to = p.splits == 1 ? a.output + query_row[m] * a.head_dim : scratch + partial * a.head_dim;
      const float divisor = p.splits == 1 && total != 0.0f ? total : 1.0f;
      K_UNROLL
      for (int i = 0; i < kShare; ++i) {
        const uint32_t at = slice + (32 * uint32_t(i / kPack) + t.lane()) * kPack + uint32_t(i % kPack);
        if (at < a.head_dim) to[at] = sums[m].v[i] / divisor;
      }
      if (p.splits > 1 && slice == 0 && t.lane() == 0) {
        K_GLOBAL float* const state = scratch + p.splits * all_rows * a.head_dim + 2 * partial;
        state[0] = row_max[m];
        state[1] = total;
      }
    }
  }
}

/// A group per row: the splits' sums, brought to one maximum and added in order. Lanes share the splits' states, so
/// that no load waits for another.
template <class Thread>
K_FN void attention_combine(Thread t, K_CONST const AttentionProblem& p, K_SHARED float*) {
  constexpr int kShare = AttentionShape::kMostSplits / 32;
  constexpr uint32_t kAhead = 4;  // partials whose loads are in flight together
  K_CONST const AttentionArgs& a = p.attention;
  const uint64_t rows = uint64_t(a.n_tokens) * a.n_heads;
  const K_GLOBAL float* const partials = reinterpret_cast<const K_GLOBAL float*>(a.scratch);
  const K_GLOBAL float* const states = partials + p.splits * rows * a.head_dim;
  for (uint64_t row = t.group(); row < rows; row += t.groups()) {
    float largest[kShare], weight[kShare], top = -infinity(), weights = 0.0f;
    K_UNROLL
    for (int i = 0; i < kShare; ++i) {
      const uint64_t s = 32 * uint64_t(i) + t.lane();
      const bool is = s < p.splits;
      largest[i] = is ? states[2 * (s * rows + row)] : -infinity();
      weight[i] = is ? states[2 * (s * rows + row) + 1] : 0.0f;
      top = largest[i] > top ? largest[i] : top;
    }
    top = t.simd_max(top);
    K_UNROLL
    for (int i = 0; i < kShare; ++i) {
      largest[i] = weight[i] == 0.0f ? 0.0f : exponential(largest[i] - top);  // from here on the split's factor
      weights += t.simd_sum(weight[i] * largest[i]);
    }
    for (uint32_t first = t.simdgroup() * 32; first < a.head_dim; first += t.simdgroups() * 32) {
      const uint32_t i = first + t.lane() < a.head_dim ? first + t.lane() : first;
      float sum = 0.0f;
      K_UNROLL
      for (int j = 0; j < kShare; ++j) {
        for (uint32_t s = 32 * uint32_t(j); s < p.splits && s < 32 * uint32_t(j) + 32; s += kAhead) {
          float factor[kAhead], value[kAhead];
          K_UNROLL
          for (uint32_t ahead = 0; ahead < kAhead; ++ahead) {
            factor[ahead] = t.simd_broadcast(largest[j], s % 32 + ahead);
            value[ahead] = factor[ahead] == 0.0f ? 0.0f : partials[((s + ahead) * rows + row) * a.head_dim + i];
          }
          K_UNROLL
          for (uint32_t ahead = 0; ahead < kAhead; ++ahead) sum = multiply_add(value[ahead], factor[ahead], sum);
        }
      }
      if (first + t.lane() < a.head_dim) a.output[row * a.head_dim + i] = weights == 0.0f ? 0.0f : sum / weights;
    }
  }
}

}  // namespace mlx_native::gpu
