// Softmax attention, the softmax made online over blocks of keys.
//
// All query rows of one KV head, (token, head of the group), form a matrix; kTileRows of them at a time pass over the
// keys that any of them sees. Blocks of keys start at multiples of kKeys positions, so that a row's sums do not depend
// on the rows beside it: what it does not see has weight 0.
#include "args/attention.h"

#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

constexpr int kKeys = 64, kRows = kTileRows < 4 ? kTileRows : 4;
static_assert(kKeys % kLanes == 0);
constexpr float kInfinity = __builtin_inff();

K_FN Vec load_cached(const float* p, int n) { return load_n(p, n); }
K_FN Vec load_cached(const uint16_t* p, int n) { return n == kLanes ? load_half(p) : load_half_part(p, n); }

/// scores[m][n] = query[m] . key[n] for 4 keys.
template <class T, int M>
K_FN void score_keys(const float* const (&query)[M], const T* const* key, uint32_t dim, float (*scores)[kKeys]) {
  Vec total[M][4] = {};
  for_each_vector(0, dim, [&](uint64_t i, int lanes) {
    Vec q[M];
    for (int m = 0; m < M; ++m) q[m] = load_n(query[m] + i, lanes);
    for (int n = 0; n < 4; ++n) {
      const Vec k = load_cached(key[n] + i, lanes);
      for (int m = 0; m < M; ++m) total[m][n] = fma(q[m], k, total[m][n]);
    }
  });
  for (int m = 0; m < M; ++m) {
    const Quad four = sum4(total[m][0], total[m][1], total[m][2], total[m][3]);
    __builtin_memcpy(&scores[m][0], &four, sizeof four);
  }
}

/// output[m] = output[m] * factor[m] + sum over keys in `keys` of weights[m][key] * value[key].
template <class T, int M>
K_FN void add_values(const float (*weights)[kKeys], const float* factor, const T* const* value, Range keys,
                     uint32_t dim, float* const* output) {
  for_each_vector(0, dim, [&](uint64_t i, int lanes) {
    Vec total[M];
    for (int m = 0; m < M; ++m) total[m] = load_n(output[m] + i, lanes) * factor[m];
    for (uint64_t key = keys.begin; key < keys.end; ++key) {
      const Vec v = load_cached(value[key] + i, lanes);
      for (int m = 0; m < M; ++m) total[m] = fma(splat(weights[m][key]), v, total[m]);
    }
    for (int m = 0; m < M; ++m) store_n(output[m] + i, total[m], lanes);
  });
}

/// The running softmax of a row: weights are relative to exp(max).
struct Softmax {
  float max = -kInfinity, sum = 0;

  /// Scores of a block become weights; returns what the earlier weights are multiplied by.
  float add(float* scores) {
    Vec block_max = load(scores), total = {};
    for (int i = kLanes; i < kKeys; i += kLanes) block_max = MLXN_ISA::max(block_max, load(scores + i));
    const float largest = max_lane(block_max), now = largest > max ? largest : max;
    const float factor = exp(splat(max - now))[0];
    for (int i = 0; i < kKeys; i += kLanes) {
      const Vec weight = exp(load(scores + i) - now);
      store(scores + i, weight);
      total += weight;
    }
    sum = sum * factor + MLXN_ISA::sum(total);
    max = now;
    return factor;
  }
};

/// Positions that a query at `position` sees.
Range visible(const AttentionArgs& a, uint64_t position) {
  const uint64_t last = a.positions[a.n_tokens - 1], end = (a.causal && position < last ? position : last) + 1;
  uint64_t begin = last >= a.kv_capacity ? last - a.kv_capacity + 1 : 0;
  if (a.sliding_window && position >= a.sliding_window && position - a.sliding_window + 1 > begin)
    begin = position - a.sliding_window + 1;
  return {begin < end ? begin : end, end};
}

/// The part of `range` in [first, first + kKeys), from first on.
Range within(Range range, uint64_t first) {
  const uint64_t begin = range.begin > first ? range.begin - first : 0;
  const uint64_t end = range.end > first ? range.end - first : 0;
  return {begin < kKeys ? begin : kKeys, end < kKeys ? end : kKeys};
}

void finish_scores(const AttentionArgs& a, Range seen, float* scores) {
  for (int i = 0; i < kKeys; i += kLanes) {
    Vec s = load(scores + i) * a.scale;
    if (a.softcap != 0) s = a.softcap * tanh(s / a.softcap);
    store(scores + i, s);
  }
  for (uint64_t i = 0; i < seen.begin; ++i) scores[i] = -kInfinity;
  for (uint64_t i = seen.end; i < kKeys; ++i) scores[i] = -kInfinity;
}

/// Rows `row` to row + M of a KV head: row r is head r % group of token r / group.
template <class T, int M>
void attend(const AttentionArgs& a, uint64_t kv_head, uint64_t row) {
  const uint64_t group = a.n_heads / a.n_kv_heads;
  const float* query[M];
  float* output[M];
  Range sees[M], all{~uint64_t{0}, 0};
  Softmax softmax[M];
  for (int m = 0; m < M; ++m) {
    const uint64_t token = (row + m) / group, head = kv_head * group + (row + m) % group;
    query[m] = a.query + (token * a.n_heads + head) * a.head_dim;
    output[m] = a.output + (token * a.n_heads + head) * a.head_dim;
    for (uint32_t i = 0; i < a.head_dim; ++i) output[m][i] = 0;
    sees[m] = visible(a, a.positions[token]);
    all = {sees[m].begin < all.begin ? sees[m].begin : all.begin, sees[m].end > all.end ? sees[m].end : all.end};
  }
  const T *const keys = reinterpret_cast<const T*>(a.k_cache), *const values = reinterpret_cast<const T*>(a.v_cache);
  for (uint64_t first = all.begin / kKeys * kKeys; first < all.end; first += kKeys) {
    const T *key[kKeys], *value[kKeys];
    for (uint64_t i = 0; i < kKeys; ++i) {
      // Beyond what any row sees, a row of the cache stands in: its score is dropped.
      const uint64_t position = first + i < all.begin ? all.begin : first + i < all.end ? first + i : all.end - 1;
      const uint64_t at = (kv_head * a.kv_capacity + position % a.kv_capacity) * a.head_dim;
      key[i] = keys + at;
      value[i] = values + at;
    }
    alignas(64) float scores[M][kKeys];
    for (int n = 0; n < kKeys; n += 4)
      score_keys<T, M>(query, key + n, a.head_dim, reinterpret_cast<float(*)[kKeys]>(&scores[0][n]));
    float factor[M];
    Range seen[M];
    bool whole = true;
    for (int m = 0; m < M; ++m) {
      seen[m] = within(sees[m], first);
      if (seen[m].begin >= seen[m].end) seen[m] = {0, 0};
      whole &= seen[m].end - seen[m].begin == kKeys;
      if (seen[m].end == 0) continue;
      finish_scores(a, seen[m], scores[m]);
      factor[m] = softmax[m].add(scores[m]);
    }
    if (whole) {
      add_values<T, M>(scores, factor, value, {0, kKeys}, a.head_dim, output);
      continue;
    }
    for (int m = 0; m < M; ++m)
      if (seen[m].end != 0) add_values<T, 1>(&scores[m], &factor[m], value, seen[m], a.head_dim, &output[m]);
  }
  for (int m = 0; m < M; ++m)
    if (sees[m].begin < sees[m].end)
      for (uint32_t i = 0; i < a.head_dim; ++i) output[m][i] /= softmax[m].sum;
}

template <class T>
void attend_tiles(const AttentionArgs& a, Team& team) {
  const uint64_t rows = uint64_t{a.n_tokens} * (a.n_heads / a.n_kv_heads), tiles = (rows + kRows - 1) / kRows;
  const Range part = team.part(tiles * a.n_kv_heads);
  for (uint64_t item = part.begin; item < part.end; ++item) {
    const uint64_t kv_head = item / tiles, row = item % tiles * kRows;
    switch (rows - row) {
      case 1: attend<T, 1>(a, kv_head, row); break;
      case 2: attend<T, 2>(a, kv_head, row); break;
      case 3: attend < T, kRows<3 ? kRows : 3>(a, kv_head, row); break;
      default: attend<T, kRows>(a, kv_head, row); break;
    }
  }
}

void attention(const AttentionArgs& a, Team& team) {
  if (a.f16)
    attend_tiles<uint16_t>(a, team);
  else
    attend_tiles<float>(a, team);
}

}  // namespace

void add_attention_rows(const RowSink& sink) { add<AttentionArgs, attention>(sink, Op::Attention); }

}  // namespace mlx_native::cpu::MLXN_ISA
