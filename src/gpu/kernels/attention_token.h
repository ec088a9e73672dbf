// Attention of one token, as decode has it: few query rows, many keys, and no time to lose.
//
// A group takes kRows rows of a KV head over a part of the keys, its simdgroups kKeys keys at a time in turn. All their
// keys and values are asked for at once. Lanes share a key's values; the partial products of all rows and keys are
// added over the lanes together, halving their number with each step, so that a score costs one exchange instead of
// five. Simdgroups meet in scratch at the end; parts of the keys are added by attention_combine.
//
// A HeadsAttentionProblem has its queries, and the token's own key and value, made from the products' results: by every
// group for itself, from what none of them overwrites.
#pragma once

#include "gpu/kernels/attention.h"
#include "gpu/kernels/heads_to_cache.h"

namespace mlx_native::gpu {

struct HeadsAttentionProblem {
  K_STATIC bool kMakesHeads = true;
  AttentionProblem token;
  HeadsProblem heads;
};
K_FN K_CONST const AttentionProblem& attention_of(K_CONST const AttentionProblem& p) { return p; }
K_FN K_CONST const AttentionProblem& attention_of(K_CONST const HeadsAttentionProblem& p) { return p.token; }

template <int kShare, int kMostRows>
struct AttentionTokenShape {
  K_STATIC int kRows = kShare > 8 && kMostRows > 2 ? 2 : kMostRows;  // as scratch allows
  K_STATIC int kKeys = kShare > 4 ? 64 / kShare : 4;
  K_STATIC int kSimdgroups = kShare > 4 ? 4 : 12;
  K_STATIC uint32_t kStep = uint32_t(kKeys * kSimdgroups);  // keys of a group
  K_STATIC int kSlice = 32 * kShare;
  // Sums of values, then maximum, sum of weights and factor of each simdgroup and row, then what rows sum up to.
  K_STATIC int kScratchBytes = (kSimdgroups * kRows * (kSlice + 3) * 4 + kRows * 2 * 4 + 15) / 16 * 16;
  // Behind it made heads: angles, queries, key, value, each in kSlice values, then the position.
  K_STATIC int kMade = kRows + 2, kMadeBytes = ((kMade + 1) * kSlice + 1) * 4;
};

/// The token's position and angles, to `made`. Reads positions and factors alone.
template <class Shape, class Thread>
K_FN void begin_heads(Thread t, K_CONST const HeadsAttentionProblem& p, K_SHARED float* made) {
  heads_angles(t, p.heads, 0, made);
  if (t.thread_in_group() == 0) made[(Shape::kMade + 1) * Shape::kSlice] = bits_to_float(p.heads.heads.positions[0]);
}
template <class Shape, class Thread>
K_FN uint32_t position_of(Thread, K_CONST const HeadsAttentionProblem&, const K_SHARED float* made) {
  return float_to_bits(made[(Shape::kMade + 1) * Shape::kSlice]);
}
template <class Shape, class Thread>
K_FN uint32_t position_of(Thread, K_CONST const AttentionProblem& p, const K_SHARED float*) {
  return p.attention.positions[0];
}

/// The queries of `rows` heads from first_row on, the last one repeated, and the KV head's key and value, to `made`.
template <class Shape, class Thread>
K_FN void make_heads(Thread t, K_CONST const HeadsAttentionProblem& p, uint64_t first_row, uint32_t rows,
                     uint64_t kv_head, K_SHARED float* made) {
  K_CONST const HeadsToCacheArgs& a = p.heads.heads;
  constexpr uint32_t kRows = uint32_t(Shape::kRows), kMade = uint32_t(Shape::kMade);
  for (uint32_t first = 0; first < kMade; first += t.simdgroups()) {
    const uint32_t i = first + t.simdgroup(), row = i < rows ? i : rows - 1;
    const bool is_query = i < kRows, is_key = i == kRows;
    const K_GLOBAL float* const from = is_query ? a.query_from + (first_row + row) * a.head_dim
                                                : (is_key ? a.key_from : a.value) + kv_head * a.head_dim;
    make_head(t, p.heads, i < kMade ? from : nullptr,
              is_query ? a.query_norm
              : is_key ? a.key_norm
                       : nullptr,
              is_query || is_key, made, made + (1 + (i < kMade ? i : 0)) * Shape::kSlice);
  }
}

/// Where made heads belong: queries by the groups of the first part of the keys, the key by the first of these, what
/// the cache remembers by the first of those whose part ends with the token.
template <class Shape, class Thread>
K_FN void store_heads(Thread t, K_CONST const HeadsAttentionProblem& p, uint64_t first_row, uint32_t rows,
                      uint64_t kv_head, uint64_t slot, bool first_tile, bool first_split, bool ends,
                      const K_SHARED float* made) {
  K_CONST const HeadsToCacheArgs& a = p.heads.heads;
  const K_SHARED float* const key = made + (1 + Shape::kRows) * Shape::kSlice;
  for (uint32_t i = t.thread_in_group(); i < rows * a.head_dim && first_split; i += t.threads_in_group()) {
    const uint32_t m = i / a.head_dim, at = i - m * a.head_dim;
    a.query[first_row * a.head_dim + i] = made[(1 + m) * Shape::kSlice + at];
  }
  for (uint32_t i = t.thread_in_group(); i < a.head_dim && first_tile; i += t.threads_in_group()) {
    if (first_split) a.key[kv_head * a.head_dim + i] = key[i];
    if (!ends) continue;
    store_in_cache(a.k_cache, slot + i, key[i], a.f16);
    store_in_cache(a.v_cache, slot + i, key[Shape::kSlice + i], a.f16);
  }
}

/// As it comes back from a cache of these.
template <class T>
K_FN float remembered(float x) {
  if constexpr (sizeof(T) == 2) return half_to_float(float_to_half(x));
  return x;
}
/// This lane's share of the n values of a head.
template <int kPack, int kChunks, class T>
K_FN LaneValues<kPack, kChunks> share_of(const K_SHARED T* head, uint32_t lane, uint32_t n) {
  LaneValues<kPack, kChunks> values;
  K_UNROLL
  for (int c = 0; c < kChunks; ++c) {
    const uint32_t i = (32 * uint32_t(c) + lane) * kPack;
    Pack<T, kPack> pack = {};
    if (i < n) pack = *reinterpret_cast<const K_SHARED Pack<T, kPack>*>(head + i);
    K_UNROLL
    for (int j = 0; j < kPack; ++j) values.v[c * kPack + j] = as_float(pack.v[j]);
  }
  return values;
}

template <int kCount>
struct Values {
  float v[kCount];
};

/// How many of kCount values a lane keeps when they are added over 2 * kApart lanes.
constexpr int kept_values(int count, uint32_t apart) {
  return apart == 0 ? count : count > 2 * int(apart) ? count / (2 * int(apart)) : 1;
}

/// Sums over the lanes of each of kCount values, a power of two, for kApart = 16. Lane l keeps those of indices
/// l * kLeft ... + kLeft - 1 where kLeft = kCount / 32, or, of fewer than 32 values, that of index l * kCount / 32.
template <int kCount, uint32_t kApart, class Thread>
K_FN Values<kept_values(kCount, kApart)> add_over_lanes(Thread t, Values<kCount> mine) {
  if constexpr (kApart == 0) {
    return mine;
  } else if constexpr (kCount == 1) {
    mine.v[0] = mine.v[0] + t.simd_shuffle_xor(mine.v[0], kApart);
    return add_over_lanes<1, kApart / 2>(t, mine);
  } else {
    constexpr int kHalf = kCount / 2;
    const bool upper = (t.lane() & kApart) != 0;
    Values<kHalf> kept;
    K_UNROLL
    for (int i = 0; i < kHalf; ++i) {
      const float keep = upper ? mine.v[kHalf + i] : mine.v[i], give = upper ? mine.v[i] : mine.v[kHalf + i];
      kept.v[i] = keep + t.simd_shuffle_xor(give, kApart);
    }
    return add_over_lanes<kHalf, kApart / 2>(t, kept);
  }
}

/// What a simdgroup knows of kRows rows behind the keys that it took.
template <int kPack, int kChunks, int kRows, int kKeys>
struct TokenRows {
  K_STATIC int kShare = kPack * kChunks, kCount = kRows * kKeys, kLeft = kCount > 32 ? kCount / 32 : 1;
  K_STATIC uint32_t kCopies = kCount < 32 ? 32 / kCount : 1, kRowLanes = 32 / kRows;

  LaneValues<kPack, kChunks> query[kRows], sums[kRows];
  float row_max, weight_sum;  // of the row whose scores are this lane's, the sum of this lane's

  K_FN void begin() {
    row_max = -infinity(), weight_sum = 0.0f;
    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      K_UNROLL
      for (int i = 0; i < kShare; ++i) sums[m].v[i] = 0.0f;
    }
  }
  /// Keys of positions first ... and their values; what is not before `stop` is not seen.
  template <class Thread>
  K_FN void take(Thread t, K_CONST const AttentionArgs& a, const LaneValues<kPack, kChunks> (&k)[kKeys],
                 const LaneValues<kPack, kChunks> (&v)[kKeys], uint64_t first, uint64_t stop) {
    Values<kCount> products;
    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      K_UNROLL
      for (int j = 0; j < kKeys; ++j) {
        float dot = 0.0f;
        K_UNROLL
        for (int i = 0; i < kShare; ++i) dot = multiply_add(query[m].v[i], k[j].v[i], dot);
        products.v[m * kKeys + j] = dot;
      }
    }
    const Values<kLeft> scores = add_over_lanes<kCount, 16>(t, products);
    float weight[kLeft], largest = -infinity();
    K_UNROLL
    for (int i = 0; i < kLeft; ++i) {
      const uint32_t index = kCount < 32 ? t.lane() / kCopies : t.lane() * kLeft + uint32_t(i);
      float s = scores.v[i] * a.scale;
      if (a.softcap != 0.0f) s = a.softcap * hyperbolic_tangent(s / a.softcap);
      weight[i] = first + index % kKeys < stop ? s : -infinity();
      largest = weight[i] > largest ? weight[i] : largest;
    }
    K_UNROLL
    for (uint32_t apart = kRowLanes / 2; apart > 0; apart /= 2) {
      const float other = t.simd_shuffle_xor(largest, apart);
      largest = other > largest ? other : largest;
    }
    const float now = largest > row_max ? largest : row_max, base = now == -infinity() ? 0.0f : now;
    const float factor = exponential(row_max - base);
    row_max = now;
    weight_sum = weight_sum * factor;
    K_UNROLL
    for (int i = 0; i < kLeft; ++i) {
      // A score that is NaN stays one.
      weight[i] = weight[i] == -infinity() ? 0.0f : exponential(weight[i] - base);
      weight_sum = weight_sum + weight[i];
    }
    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      const float row_factor = t.simd_broadcast(factor, uint32_t(m) * kRowLanes);
      K_UNROLL
      for (int i = 0; i < kShare; ++i) sums[m].v[i] = sums[m].v[i] * row_factor;
      K_UNROLL
      for (int j = 0; j < kKeys; ++j) {
        const uint32_t index = uint32_t(m * kKeys + j);
        const float w = t.simd_broadcast(weight[index % kLeft], kCount < 32 ? index * kCopies : index / kLeft);
        K_UNROLL
        for (int i = 0; i < kShare; ++i)
          sums[m].v[i] = w == 0.0f ? sums[m].v[i] : multiply_add(w, v[j].v[i], sums[m].v[i]);
      }
    }
  }
  /// The sum of a row's weights, in all of its lanes.
  template <class Thread>
  K_FN void add_weights(Thread t) {
    K_UNROLL
    for (uint32_t apart = kRowLanes / 2; apart > 0; apart /= 2)
      weight_sum = weight_sum + t.simd_shuffle_xor(weight_sum, apart);
    weight_sum = weight_sum / float(kCopies);
  }
};

/// With kMakesHeads, scratch has kMadeBytes more, which begin_heads() was called for.
template <class T, int kPack, int kChunks, int kMostRows, class Thread, class Problem>
K_FN void attend_token(Thread t, K_CONST const Problem& problem, K_SHARED float* scratch) {
  constexpr bool kMakes = Problem::kMakesHeads;
  K_CONST const AttentionProblem& p = attention_of(problem);
  using Share = LaneValues<kPack, kChunks>;
  using Shape = AttentionTokenShape<kPack * kChunks, kMostRows>;
  constexpr int kShare = kPack * kChunks, kRows = Shape::kRows, kKeys = Shape::kKeys, kSlice = Shape::kSlice;
  constexpr uint32_t kRowLanes = 32 / kRows;
  K_CONST const AttentionArgs& a = p.attention;
  const uint32_t group = a.n_heads / a.n_kv_heads, tiles = (group - 1) / kRows + 1;
  const uint64_t units = uint64_t(a.n_kv_heads) * tiles * p.splits;
  K_SHARED float* const made = scratch + Shape::kScratchBytes / 4;
  if constexpr (kMakes) t.barrier();
  const uint32_t position = position_of<Shape>(t, problem, made);
  const Positions sees = visible(a, position, position);
  const uint64_t cached = kMakes ? sees.end - 1 : sees.end;  // what is before it, the cache has
  const uint64_t length = sees.end - sees.begin, per_split = (length + p.splits - 1) / p.splits;
  const uint64_t share = (per_split + Shape::kStep - 1) / Shape::kStep * Shape::kStep;
  const Ring ring = {sees.begin, sees.begin % a.kv_capacity, a.kv_capacity};
  K_SHARED float* const states = scratch + Shape::kSimdgroups * kRows * kSlice;
  K_SHARED float* const totals = states + Shape::kSimdgroups * kRows * 3;
  for (uint64_t unit = t.group(); unit < units; unit += t.groups()) {
    const uint32_t split = uint32_t(unit % p.splits), tile = uint32_t(unit / p.splits % tiles);
    const uint64_t kv_head = unit / p.splits / tiles, first_row = kv_head * group + tile * kRows;
    const uint64_t start = sees.begin + split * share, stop = start + share < sees.end ? start + share : sees.end;
    const uint64_t cache = kv_head * a.kv_capacity * a.head_dim;
    const K_GLOBAL T* const keys = reinterpret_cast<const K_GLOBAL T*>(a.k_cache) + cache;
    const K_GLOBAL T* const values = reinterpret_cast<const K_GLOBAL T*>(a.v_cache) + cache;

    const uint32_t rows = group - tile * kRows < uint32_t(kRows) ? group - tile * kRows : uint32_t(kRows);

    if constexpr (kMakes) make_heads<Shape>(t, problem, first_row, rows, kv_head, made);
    TokenRows<kPack, kChunks, kRows, kKeys> state;
    state.begin();
    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      const uint64_t row = uint32_t(m) < rows ? first_row + uint32_t(m) : first_row;
      if constexpr (kMakes)
        state.query[m] = share_of<kPack, kChunks>(made + (1 + m) * kSlice, t.lane(), a.head_dim);
      else
        state.query[m] = load_share<float, kPack, kChunks>(a.query + row * a.head_dim, t.lane(), a.head_dim);
    }
    for (uint64_t first = start + t.simdgroup() * kKeys; first < stop; first += Shape::kStep) {
      Share k[kKeys], v[kKeys];
      K_UNROLL
      for (int j = 0; j < kKeys; ++j) {
        const uint64_t at = ring.slot(clamp_to(sees, first + uint32_t(j))) * a.head_dim;
        const uint32_t count = kMakes && first + uint32_t(j) >= cached ? 0 : a.head_dim;
        k[j] = load_share<T, kPack, kChunks>(keys + at, t.lane(), count);
        v[j] = load_share<T, kPack, kChunks>(values + at, t.lane(), count);
      }
      if (kMakes && first + uint32_t(kKeys) > cached) {
        const Share own_key = share_of<kPack, kChunks>(made + (1 + kRows) * kSlice, t.lane(), a.head_dim),
                    own_value = share_of<kPack, kChunks>(made + (2 + kRows) * kSlice, t.lane(), a.head_dim);
        K_UNROLL
        for (int j = 0; j < kKeys; ++j) {
          K_UNROLL
          for (int i = 0; i < kShare && first + uint32_t(j) == cached; ++i)
            k[j].v[i] = remembered<T>(own_key.v[i]), v[j].v[i] = remembered<T>(own_value.v[i]);
        }
      }
      state.take(t, a, k, v, first, stop);
    }
    state.add_weights(t);
    const uint32_t own = t.simdgroup() * kRows;
    if (t.lane() % kRowLanes == 0) {
      states[3 * (own + t.lane() / kRowLanes)] = state.row_max;
      states[3 * (own + t.lane() / kRowLanes) + 1] = state.weight_sum;
    }
    K_UNROLL
    for (int m = 0; m < kRows; ++m) {
      K_UNROLL
      for (int i = 0; i < kShare; ++i)
        scratch[(own + uint32_t(m)) * kSlice + (32 * uint32_t(i / kPack) + t.lane()) * kPack + uint32_t(i % kPack)] =
            state.sums[m].v[i];
    }
    t.barrier();
    if (t.thread_in_group() < t.simdgroups() * kRows) {
      const uint32_t m = t.thread_in_group() % kRows;
      float top = -infinity(), total = 0.0f;
      for (uint32_t w = 0; w < t.simdgroups(); ++w) {
        const float largest = states[3 * (w * kRows + m)];
        top = largest > top ? largest : top;
      }
      for (uint32_t w = 0; w < t.simdgroups(); ++w) {
        const float weights = states[3 * (w * kRows + m) + 1];
        const float factor = weights == 0.0f ? 0.0f : exponential(states[3 * (w * kRows + m)] - top);
        total = multiply_add(weights, factor, total);
        if (w == t.thread_in_group() / kRows) states[3 * (w * kRows + m) + 2] = factor;
      }
      if (t.thread_in_group() < kRows) {
        totals[2 * m] = top;
        totals[2 * m + 1] = total;
      }
    }
    t.barrier();
    K_GLOBAL float* const partials = reinterpret_cast<K_GLOBAL float*>(a.scratch);
    for (uint32_t i = t.thread_in_group(); i < kRows * a.head_dim; i += t.threads_in_group()) {
      const uint32_t m = i / a.head_dim, at = i - m * a.head_dim;
      if (m >= rows) break;
      float sum = 0.0f;
      for (uint32_t w = 0; w < t.simdgroups(); ++w) {
        const float factor = states[3 * (w * kRows + m) + 2];
        if (factor != 0.0f) sum = multiply_add(scratch[(w * kRows + m) * kSlice + at], factor, sum);
      }
      const uint64_t row = first_row + m;
      if (p.splits == 1) {
        const float total = totals[2 * m + 1];
        a.output[row * a.head_dim + at] = total == 0.0f ? 0.0f : sum / total;
        continue;
      }
      const uint64_t partial = uint64_t(split) * a.n_heads + row;
      if (start < stop) partials[partial * a.head_dim + at] = sum;
      if (at == 0) {
        K_GLOBAL float* const to = partials + uint64_t(p.splits) * a.n_heads * a.head_dim + 2 * partial;
        to[0] = totals[2 * m];
        to[1] = totals[2 * m + 1];
      }
    }
    if constexpr (kMakes)
      store_heads<Shape>(t, problem, first_row, rows, kv_head, cache + ring.slot(cached) * a.head_dim, tile == 0,
                         split == 0, start <= cached && cached < stop, made);
    t.barrier();
  }
}

}  // namespace mlx_native::gpu
