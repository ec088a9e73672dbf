// Attention of many queries: a tile of query rows passes over blocks of keys.
//
// Queries are the lanes of vectors, so that each row has its own softmax without a sum across lanes. Both products are
// register tiles of kTileRows x 4 vectors: scalars of one side, broadcast, times vectors of the other.
//
//   scores[key][row]  = sum over d   of k[key][d]         * q[d][row]       a panel of rows at a time
//   output[row][d]   += sum over key of weights[key][row] * v[key][d]       a panel of d at a time
//
// A block of the cache is brought to floats once for all rows of the tile. What lies in a worker's own memory:
//
//   q        panels of kPanel rows      [head_dim][panel]
//   k        kKeys x head_dim
//   v        panels of kPanel values    [kKeys][panel]
//   scores   kKeys x kPanel             then weights; of one panel of rows
//   output   rows x head_dim, padded to whole vectors
//   max, sum of rows
#pragma once

#include "cpu/generic/attention_parts.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kPanelVectors = 4, kPanel = kPanelVectors * kLanes;
inline constexpr uint64_t kMostTileRows = 256;

/// The memory of a tile of `rows` rows.
struct TileMemory {
  uint64_t rows, dim, padded;  ///< rows in whole vectors; head_dim; head_dim in whole vectors

  TileMemory(uint64_t n_rows, uint64_t head_dim)
      : rows((n_rows + kLanes - 1) / kLanes * kLanes),
        dim(head_dim),
        padded((head_dim + kLanes - 1) / kLanes * kLanes) {}
  K_FN uint64_t k() const { return rows * dim; }
  K_FN uint64_t v() const { return k() + kKeys * padded; }
  K_FN uint64_t scores() const { return v() + kKeys * padded; }
  K_FN uint64_t output() const { return scores() + uint64_t{kKeys} * kPanel; }
  K_FN uint64_t max() const { return output() + rows * padded; }
  K_FN uint64_t sum() const { return max() + rows; }
  K_FN uint64_t bytes() const { return (sum() + rows) * sizeof(float); }
};

/// The most rows of a tile, at most `rows`, that a worker's memory has room for; 0: not even a vector of them.
inline uint64_t rows_that_fit(uint64_t rows, uint64_t head_dim) {
  uint64_t most = kMostTileRows;
  while (most >= kLanes && TileMemory(most, head_dim).bytes() > Team::kLocalBytes) most /= 2;
  return most < kLanes ? 0 : rows < most ? rows : most;
}

template <int N>
struct Count {
  static constexpr int value = N;
};

/// Calls body(Count<n>) for n in [1, kPanelVectors].
template <class Body>
K_FN void with_vectors(uint64_t n, const Body& body) {
  switch (n) {
    case 1: return body(Count<1>{});
    case 2: return body(Count<2>{});
    case 3: return body(Count<3>{});
    default: return body(Count<kPanelVectors>{});
  }
}

/// Calls body(Count<m>, row) for all of `rows`, m rows at a time: kTileRows, and fewer at the end.
template <class Body>
K_FN void in_tiles(Range rows, const Body& body) {
  uint64_t row = rows.begin;
  for (; row + kTileRows <= rows.end; row += kTileRows) body(Count<kTileRows>{}, row);
  if constexpr (kTileRows > 4)
    for (; row + 4 <= rows.end; row += 4) body(Count<4>{}, row);
  if constexpr (kTileRows > 2)
    for (; row + 2 <= rows.end; row += 2) body(Count<2>{}, row);
  for (; row < rows.end; ++row) body(Count<1>{}, row);
}

/// c[m] += sum over i < count of a[m * row + i * step] * b[i], where b and c have N vectors.
template <int M, int N>
K_FN void multiply_tile(const float* a, uint64_t row, uint64_t step, const float* b, uint64_t count, Vec (&c)[M][N]) {
  for (uint64_t i = 0; i < count; ++i) {
    Vec right[N];
    MLXN_UNROLL
    for (int n = 0; n < N; ++n) right[n] = load(b + (i * N + n) * kLanes);
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      const Vec left = splat(a[m * row + i * step]);
      MLXN_UNROLL
      for (int n = 0; n < N; ++n) c[m][n] = fma(left, right[n], c[m][n]);
    }
  }
}

/// Rows [first, first + count) of a KV head.
template <class T>
class AttentionTile {
 public:
  AttentionTile(const AttentionArgs& a, uint64_t kv_head, uint64_t first, uint64_t count, float* memory)
      : a_(a), kv_head_(kv_head), first_(first), count_(count), dim_(a.head_dim), at_(count, dim_), memory_(memory) {}

  void run() {
    load_queries();
    Range all{0, 0};
    for (uint64_t row = 0; row < count_; ++row) {
      sees_[row] = visible_to_row(a_, first_ + row);
      Panel& panel = panels_[row / kPanel];
      if (row % kPanel == 0) panel = {{0, 0}, sees_[row]};
      panel.by_any = hull(panel.by_any, sees_[row]);
      panel.by_all = both(panel.by_all, sees_[row]);
      all = hull(all, sees_[row]);
    }
    for (uint64_t i = 0; i < at_.rows; ++i) {
      max()[i] = kLowest;
      sum()[i] = 0;
    }
    for (uint64_t i = 0; i < at_.rows * at_.padded; ++i) output()[i] = 0;
    for (uint64_t block = all.begin / kKeys * kKeys; block < all.end; block += kKeys) {
      load_block(block, within(all, block));
      for (uint64_t row = 0; row < at_.rows; row += kPanel)
        with_vectors((at_.rows - row) / kLanes, [&](auto n) { attend<n.value>(row, block); });
    }
    store_output();
  }

 private:
  float* q() const { return memory_; }
  float* k() const { return memory_ + at_.k(); }
  float* v() const { return memory_ + at_.v(); }
  float* scores() const { return memory_ + at_.scores(); }
  float* output() const { return memory_ + at_.output(); }
  float* max() const { return memory_ + at_.max(); }
  float* sum() const { return memory_ + at_.sum(); }

  void load_queries() const {
    for (uint64_t row = 0; row < at_.rows; row += 4) {
      const uint64_t in_panel = row % kPanel, left = at_.rows - (row - in_panel), width = left < kPanel ? left : kPanel;
      float* const to = q() + (row - in_panel) * dim_ + in_panel;
      // Rows that are not there are as the first one; nobody looks at what becomes of them.
      const float* from[4];
      for (uint64_t r = 0; r < 4; ++r)
        from[r] = a_.query + place_of(a_, kv_head_, first_ + (row + r < count_ ? row + r : 0));
      uint64_t d = 0;
      for (; d + 4 <= dim_; d += 4) {
        const Transposed t =
            transposed(load_quad(from[0] + d), load_quad(from[1] + d), load_quad(from[2] + d), load_quad(from[3] + d));
        for (int i = 0; i < 4; ++i) store_quad(to + (d + i) * width, t.row[i] * a_.scale);
      }
      for (; d < dim_; ++d)
        for (int r = 0; r < 4; ++r) to[d * width + r] = from[r][d] * a_.scale;
    }
  }

  /// Keys and values of `keys` of a block as floats.
  void load_block(uint64_t block, Range keys) {
    Vec zeros{};  // NaN where a value is not finite
    const CacheRows<T> key_rows(a_, a_.k_cache, kv_head_, block, keys),
        value_rows(a_, a_.v_cache, kv_head_, block, keys);
    for (uint64_t key = keys.begin; key < keys.end; ++key) {
      const T *const key_row = key_rows[key], *const value_row = value_rows[key];
      float* const to = k() + key * dim_;
      for_each_vector(0, dim_, [&](uint64_t i, int n) { store_n(to + i, load_cached(key_row + i, n), n); });
      for (uint64_t panel = 0; panel < at_.padded; panel += kPanel) {
        const uint64_t left = at_.padded - panel, width = left < kPanel ? left : kPanel;
        float* const values = v() + panel * kKeys + key * width;
        for_each_vector(panel, panel + width < dim_ ? panel + width : dim_, [&](uint64_t i, int n) {
          const Vec loaded = load_cached(value_row + i, n);
          store(values + (i - panel), loaded);
          zeros = fma(loaded, Vec{}, zeros);
        });
      }
    }
    values_are_finite_ = is_zero(zeros);
  }

  /// What the rows of a panel see of a block.
  template <int N>
  struct Sight {
    Range keys;  ///< that any of them sees
    bool all;    ///< that each of them sees all of these; if not:
    alignas(64) int32_t begin[N * kLanes], end[N * kLanes];
  };

  template <int N>
  void look(uint64_t row, uint64_t block, Sight<N>& sight) const {
    const Panel& panel = panels_[row / kPanel];
    const Range by_all = within(panel.by_all, block);
    sight.keys = within(panel.by_any, block);
    sight.all = by_all.begin == sight.keys.begin && by_all.end == sight.keys.end;
    if (sight.all) return;
    for (uint64_t i = 0; i < N * kLanes; ++i) {
      const Range part = row + i < count_ ? within(sees_[row + i], block) : Range{0, 0};
      sight.begin[i] = int32_t(part.begin);
      sight.end[i] = int32_t(part.end);
    }
  }

  template <int N>
  void attend(uint64_t row, uint64_t block) const {
    constexpr uint64_t kWidth = N * kLanes;
    Sight<N> sight;
    look<N>(row, block, sight);
    const Range keys = sight.keys;
    if (keys.end == 0) return;
    in_tiles(
        keys, [&](auto m, uint64_t key) __attribute__((always_inline)) {
          Vec c[m.value][N] = {};
          multiply_tile<m.value, N>(k() + key * dim_, dim_, 1, q() + row * dim_, dim_, c);
          for (int i = 0; i < m.value; ++i)
            for (int n = 0; n < N; ++n) store(scores() + (key + i) * kWidth + n * kLanes, c[i][n]);
        });
    // A tile of more rows than the panel is wide is never taken, but g++ compiles it, and minds.
    alignas(64) float factor[kWidth < kTileRows ? kTileRows : kWidth];
    weigh<N>(sight, max() + row, sum() + row, factor);
    const auto add_values = [&](auto m, uint64_t r, Range seen) __attribute__((always_inline)) {
      for (uint64_t d = 0; d < at_.padded; d += kPanel)
        with_vectors((at_.padded - d) / kLanes, [&](auto width) __attribute__((always_inline)) {
          constexpr int kVectors = width.value;
          Vec c[m.value][kVectors];
          float* const out = output() + (row + r) * at_.padded + d;
          for (int i = 0; i < m.value; ++i)
            for (int n = 0; n < kVectors; ++n) c[i][n] = load(out + i * at_.padded + n * kLanes) * factor[r + i];
          multiply_tile<m.value, kVectors>(scores() + seen.begin * kWidth + r, 1, kWidth,
                                           v() + d * kKeys + seen.begin * kVectors * kLanes, seen.end - seen.begin, c);
          for (int i = 0; i < m.value; ++i)
            for (int n = 0; n < kVectors; ++n) store(out + i * at_.padded + n * kLanes, c[i][n]);
        });
    };
    const uint64_t end = count_ - row < kWidth ? count_ - row : kWidth;
    if (sight.all || values_are_finite_)
      in_tiles(
          {0, end}, [&](auto m, uint64_t r) __attribute__((always_inline)) { add_values(m, r, keys); });
    else  // what a row does not see has weight 0, and infinity times 0 is no 0
      for (uint64_t r = 0; r < end; ++r) add_values(Count<1>{}, r, {uint64_t(sight.begin[r]), uint64_t(sight.end[r])});
  }

  /// Scores become weights relative to exp(max); factor is what earlier weights are multiplied by.
  template <int N>
  void weigh(const Sight<N>& sight, float* max_at, float* sum_at, float* factor) const {
    Vec before[N], now[N], total[N] = {};
    for (int n = 0; n < N; ++n) now[n] = before[n] = load(max_at + n * kLanes);
    for (uint64_t key = sight.keys.begin; key < sight.keys.end; ++key)
      for (int n = 0; n < N; ++n) {
        float* const at = scores() + (key * N + n) * kLanes;
        Vec s = load(at);
        if (a_.softcap != 0) s = a_.softcap * tanh(s / a_.softcap);
        if (!sight.all) {
          const IntVec i = splat_int(int32_t(key)),
                       seen = (i >= load_int(sight.begin + n * kLanes)) & (i < load_int(sight.end + n * kLanes));
          s = seen ? s : splat(-kInfinity);
        }
        if (a_.softcap != 0 || !sight.all) store(at, s);
        now[n] = MLXN_ISA::max(s, now[n]);
      }
    for (uint64_t key = sight.keys.begin; key < sight.keys.end; ++key)
      for (int n = 0; n < N; ++n) {
        float* const at = scores() + (key * N + n) * kLanes;
        const Vec weight = exp_of_difference(load(at) - now[n]);
        store(at, weight);
        total[n] += weight;
      }
    for (int n = 0; n < N; ++n) {
      const Vec f = exp_of_difference(before[n] - now[n]);
      store(factor + n * kLanes, f);
      store(sum_at + n * kLanes, fma(load(sum_at + n * kLanes), f, total[n]));
      store(max_at + n * kLanes, now[n]);
    }
  }

  void store_output() const {
    for (uint64_t row = 0; row < count_; ++row) {
      float* const to = a_.output + place_of(a_, kv_head_, first_ + row);
      const float factor = sum()[row] == 0 ? 0 : 1 / sum()[row];
      for_each_vector(0, dim_,
                      [&](uint64_t i, int n) { store_n(to + i, load(output() + row * at_.padded + i) * factor, n); });
    }
  }

  /// Positions that any of its rows sees, and that all of them see.
  struct Panel {
    Range by_any, by_all;
  };

  const AttentionArgs& a_;
  const uint64_t kv_head_, first_, count_, dim_;
  const TileMemory at_;
  float* const memory_;
  Range sees_[kMostTileRows];
  Panel panels_[(kMostTileRows + kPanel - 1) / kPanel];
  bool values_are_finite_ = true;  // of the loaded block
};

}  // namespace mlx_native::cpu::MLXN_ISA
