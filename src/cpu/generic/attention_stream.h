// Attention of few queries: the cache passes by once, in chunks of positions, each for all query rows of its KV head.
//
// Chunks start at multiples of kChunk positions. Where there is more than one, each leaves its softmax and its output,
// and in the end those of a row are added in their order, so that sums do not depend on who made which chunk.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/generic/attention_parts.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr uint64_t kChunk = 512;
static_assert(kChunk % kKeys == 0);

/// Rows that share what is loaded of the cache, and those of an item of work.
inline constexpr int kStreamRows = kLanes / 2;
inline constexpr uint64_t kItemRows = 16;

/// Brings what comes kAhead bytes after a row of the cache; what softmax takes must not stop the stream.
template <class T>
K_FN void prefetch_behind(const T* row, uint32_t dim) {
  constexpr uint32_t kAhead = 8192;
  ask_for_stream(reinterpret_cast<const char*>(row) + kAhead, dim * sizeof(T));
}

/// M query rows, their softmax so far, and N keys at a time: lane m * N + n is of row m and key n of a group.
template <class T, int M>
struct StreamRows {
  static constexpr int N = kLanes / M, kGroups = kKeys / N;

  const AttentionArgs& a;
  const float* query[M];
  float* output[M];
  Range sees[M];
  /// Of each row, in all of its lanes, and the sums of weights apart by key % kLanes: a row has the same bits whatever
  /// M is.
  Vec max, sum[M];

  void begin() {
    max = splat(kLowest);
    for (int m = 0; m < M; ++m) {
      sum[m] = Vec{};
      for (uint32_t i = 0; i < a.head_dim; ++i) output[m][i] = 0;
    }
  }

  /// A block of keys that starts at position `first`.
  void add_block(uint64_t first, const CacheRows<T>& key, const CacheRows<T>& value) {
    Range all{0, 0}, shared{0, kKeys}, parts[M];
    bool whole = true;
    alignas(64) int32_t begin[kLanes], end[kLanes];
    for (int m = 0; m < M; ++m) {
      const Range seen = parts[m] = within(sees[m], first);
      for (int n = 0; n < N; ++n) {
        begin[m * N + n] = int32_t(seen.begin);
        end[m * N + n] = int32_t(seen.end);
      }
      whole &= seen.end - seen.begin == kKeys;
      all = hull(all, seen);
      shared = both(shared, seen);
    }
    if (all.end == 0) return;
    Vec scores[kGroups];
    for (int g = 0; g < kGroups; ++g) scores[g] = uint64_t(g * N) < all.end ? score(key, g * N) : Vec{};
    if (a.softcap != 0)
      for (Vec& s : scores) s = a.softcap * tanh(s / a.softcap);
    if (!whole)
      for (int g = 0; g < kGroups; ++g) {
        const IntVec at = g * N + key_of_lane();
        const IntVec seen = (at >= load_int(begin)) & (at < load_int(end));
        scores[g] = seen ? scores[g] : splat(-kInfinity);
      }
    const Vec factor = weigh(scores);
    alignas(64) float weights[kGroups * kLanes], factors[kLanes];
    for (int g = 0; g < kGroups; ++g) store(weights + g * kLanes, scores[g]);
    store(factors, factor);
    const bool same = all.begin == shared.begin && all.end == shared.end;
    if (same || (are_finite(value, {all.begin, shared.begin}) && are_finite(value, {shared.end, all.end})))
      add_values(weights, factors, value, all, [](int, uint64_t) { return true; });
    else
      add_apart(weights, factors, value, all, parts);
  }

  /// What a row's weights sum up to.
  float sum_of(int m) const {
    float total = 0;
    for (int g = 0; g < M; ++g)
      for (int n = 0; n < N; ++n) total += sum[g][m * N + n];
    return total;
  }

 private:
  static K_FN IntVec key_of_lane() {
    IntVec key;
    for (int lane = 0; lane < kLanes; ++lane) key[lane] = lane % N;
    return key;
  }

  /// The scores of N keys from `first` on.
  K_FN Vec score(const CacheRows<T>& rows, uint64_t first) const {
    const T* key[N];
    for (int n = 0; n < N; ++n) {
      key[n] = rows[first + n];
      prefetch_behind(key[n], a.head_dim);
    }
    Vec total[kLanes];
    MLXN_UNROLL
    for (int i = 0; i < kLanes; ++i) total[i] = Vec{};
    for_each_vector(
        0, a.head_dim, [&](uint64_t i, int lanes) __attribute__((always_inline)) {
          Vec q[M];
          MLXN_UNROLL
          for (int m = 0; m < M; ++m) q[m] = load_n(query[m] + i, lanes);
          MLXN_UNROLL
          for (int n = 0; n < N; ++n) {
            const Vec k = load_cached(key[n] + i, lanes);
            MLXN_UNROLL
            for (int m = 0; m < M; ++m) total[m * N + n] = fma(q[m], k, total[m * N + n]);
          }
        });
    return sum_each(total) * a.scale;
  }

  /// Scores become weights; returns what the earlier ones are multiplied by.
  K_FN Vec weigh(Vec (&scores)[kGroups]) {
    Vec now = max;
    for (const Vec s : scores) now = MLXN_ISA::max(s, now);
    now = max_of_neighbours<N>(now);
    const Vec factor = exp_of_difference(max - now);
    max = now;
    for (Vec& s : sum) s *= factor;
    for (int g = 0; g < kGroups; ++g) {
      scores[g] = exp_of_difference(scores[g] - now);
      sum[g % M] += scores[g];
    }
    return factor;
  }

  bool are_finite(const CacheRows<T>& value, Range keys) const {
    Vec zeros{};
    for (uint64_t key = keys.begin; key < keys.end; ++key)
      for_each_vector(0, a.head_dim,
                      [&](uint64_t i, int n) { zeros = fma(load_cached(value[key] + i, n), Vec{}, zeros); });
    return is_zero(zeros);
  }

  /// add_values where row m sees parts[m] of `keys`, and infinity times the weight 0 of the others is no 0.
  [[gnu::noinline]] void add_apart(const float* weights, const float* factors, const CacheRows<T>& value, Range keys,
                                   const Range (&parts)[M]) const {
    add_values(weights, factors, value, keys,
               [&](int m, uint64_t key) { return key >= parts[m].begin && key < parts[m].end; });
  }

  /// output = output * factor + the values of `keys` that row m sees, each with its weight.
  template <class IsSeen>
  K_FN void add_values(const float* weights, const float* factors, const CacheRows<T>& value, Range keys,
                       const IsSeen& is_seen) const {
    constexpr int kVectors = N < 8 ? N : 8;
    uint64_t i = 0;
    for (; i + kVectors * kLanes <= a.head_dim; i += kVectors * kLanes)
      add_vectors<kVectors>(weights, factors, value, keys, is_seen, i, kLanes);
    for (; i < a.head_dim; i += kLanes)
      add_vectors<1>(weights, factors, value, keys, is_seen, i, int(a.head_dim - i < kLanes ? a.head_dim - i : kLanes));
  }

  /// The same of V vectors from value i on.
  template <int V, class IsSeen>
  K_FN void add_vectors(const float* weights, const float* factors, const CacheRows<T>& value, Range keys,
                        const IsSeen& is_seen, uint64_t i, int lanes) const {
    Vec total[M][V];
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      MLXN_UNROLL
      for (int v = 0; v < V; ++v) total[m][v] = load_n(output[m] + i + v * kLanes, lanes) * factors[m * N];
    }
    for (uint64_t key = keys.begin; key < keys.end; ++key) {
      const T* const row = value[key];
      if (i == 0) prefetch_behind(row, a.head_dim);
      Vec loaded[V];
      MLXN_UNROLL
      for (int v = 0; v < V; ++v) loaded[v] = load_cached(row + i + v * kLanes, lanes);
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        if (!is_seen(m, key)) continue;
        const Vec weight = splat(weights[key / N * kLanes + m * N + key % N]);
        MLXN_UNROLL
        for (int v = 0; v < V; ++v) total[m][v] = fma(weight, loaded[v], total[m][v]);
      }
    }
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      MLXN_UNROLL
      for (int v = 0; v < V; ++v) store_n(output[m] + i + v * kLanes, total[m][v], lanes);
    }
  }
};

/// What a chunk leaves of a row: its output, then max and sum.
struct Partials {
  float* memory;
  uint64_t rows, chunks, stride;  ///< rows of all KV heads; floats of a partial

  static K_FN uint64_t stride_of(const AttentionArgs& a) { return (a.head_dim + 2 + 15) / 16 * 16; }
  static K_FN uint64_t most_chunks(const AttentionArgs& a) { return a.kv_capacity / kChunk + 2; }
  static std::size_t bytes(const AttentionArgs& a) {
    return rows_of(a) * a.n_kv_heads * most_chunks(a) * stride_of(a) * sizeof(float);
  }
  K_FN float* at(uint64_t row, uint64_t chunk) const { return memory + (row * chunks + chunk) * stride; }

  /// output = the sum over chunks of their outputs, each with the weight that its max asks for.
  void add_up(uint64_t row, uint64_t dim, float* output) const {
    float max = kLowest, sum = 0;
    for (uint64_t c = 0; c < chunks; ++c) max = at(row, c)[dim] > max ? at(row, c)[dim] : max;
    for (uint64_t i = 0; i < dim; ++i) output[i] = 0;
    for (uint64_t c = 0; c < chunks; ++c) {
      const float* const from = at(row, c);
      const float weight = exp_of_difference(splat(from[dim] - max))[0];
      sum += from[dim + 1] * weight;
      for_each_vector(0, dim, [&](uint64_t i, int n) {
        store_n(output + i, fma(load_n(from + i, n), splat(weight), load_n(output + i, n)), n);
      });
    }
    divide(output, dim, sum);
  }
  /// A row that saw nothing is all zeros.
  static void divide(float* output, uint64_t dim, float sum) {
    if (sum == 0) return;
    const float factor = 1 / sum;
    for_each_vector(0, dim, [&](uint64_t i, int n) { store_n(output + i, load_n(output + i, n) * factor, n); });
  }
};

/// Rows [first, first + count) of a KV head and the positions of a chunk, or of all.
struct StreamItem {
  uint64_t kv_head, first, count;
  Range positions;
  const Partials* partials;  ///< null: results go to the output
  uint64_t chunk;
};

template <class T, int M>
void stream_rows(const AttentionArgs& a, const StreamItem& item, uint64_t row) {
  StreamRows<T, M> rows{a, {}, {}, {}, {}, {}};
  const uint64_t first = item.first + row, head_row = item.kv_head * rows_of(a) + first;
  for (int m = 0; m < M; ++m) {
    const uint64_t place = place_of(a, item.kv_head, first + m);
    rows.query[m] = a.query + place;
    rows.output[m] = item.partials ? item.partials->at(head_row + m, item.chunk) : a.output + place;
    rows.sees[m] = both(visible_to_row(a, first + m), item.positions);
  }
  rows.begin();
  for (uint64_t block = item.positions.begin / kKeys * kKeys; block < item.positions.end; block += kKeys) {
    const Range keys = within(item.positions, block);
    rows.add_block(block, CacheRows<T>(a, a.k_cache, item.kv_head, block, keys),
                   CacheRows<T>(a, a.v_cache, item.kv_head, block, keys));
  }
  for (int m = 0; m < M; ++m) {
    if (item.partials) {
      rows.output[m][a.head_dim] = rows.max[m * rows.N];
      rows.output[m][a.head_dim + 1] = rows.sum_of(m);
    } else {
      Partials::divide(rows.output[m], a.head_dim, rows.sum_of(m));
    }
  }
}

/// Chunks: whether the positions are shared out too; without them any number of rows needs no memory.
template <class T, bool Chunks>
void stream_attention(const AttentionArgs& a, Team& team) {
  const uint64_t rows = rows_of(a), row_blocks = (rows + kItemRows - 1) / kItemRows;
  Range all{0, 0};
  for (uint64_t token = 0; token < a.n_tokens; ++token) all = hull(all, visible(a, a.positions[token]));
  const uint64_t first_chunk = all.begin / kChunk, last_chunk = all.end ? (all.end - 1) / kChunk : 0;
  const bool split = Chunks && last_chunk > first_chunk;
  const uint64_t chunks = split ? last_chunk - first_chunk + 1 : 1;
  const Partials partials{reinterpret_cast<float*>(a.scratch), rows * a.n_kv_heads, chunks, Partials::stride_of(a)};
  const auto stream = [&](uint64_t i) {
    const uint64_t chunk = i % chunks, block = i / chunks;
    const uint64_t first = block % row_blocks * kItemRows, start = (first_chunk + chunk) * kChunk;
    const StreamItem item{block / row_blocks,
                          first,
                          rows - first < kItemRows ? rows - first : kItemRows,
                          split ? both(all, {start, start + kChunk}) : all,
                          split ? &partials : nullptr,
                          chunk};
    uint64_t row = 0;
    if constexpr (kStreamRows >= 8)
      for (; row + 8 <= item.count; row += 8) stream_rows<T, 8>(a, item, row);
    if constexpr (kStreamRows >= 4)
      for (; row + 4 <= item.count; row += 4) stream_rows<T, 4>(a, item, row);
    for (; row + 2 <= item.count; row += 2) stream_rows<T, 2>(a, item, row);
    if (row < item.count) stream_rows<T, 1>(a, item, row);
  };
  team.share(a.n_kv_heads * row_blocks * chunks, {1}, [&](Range items) {
    for (uint64_t i = items.begin; i < items.end; ++i) stream(i);
  });
  if (!split) return;
  team.barrier();
  const Range mine = team.part(partials.rows);
  for (uint64_t row = mine.begin; row < mine.end; ++row)
    partials.add_up(row, a.head_dim, a.output + place_of(a, row / rows, row % rows));
}

}  // namespace mlx_native::cpu::MLXN_ISA
