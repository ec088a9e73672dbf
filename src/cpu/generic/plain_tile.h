// Products of plain weights with some rows of x: a few weight rows and a few rows of x at a time, as both lie in
// memory.
//
// Up to kMostRows rows of x that costs less than a panel (mat_mat.h): a weight becomes a float in a register, and
// nothing is transposed. A value of y has one sum for each lane, in the order of k, whatever shares the call.
#pragma once

#include "args/matmul.h"
#include "cpu/generic/ahead.h"
#include "cpu/generic/route.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format>
struct PlainTile {
  using Block = typename Format::Block;
  static constexpr int kLeastRows = 2, kMostRows = sizeof(Block) == 2 ? 16 : 8;
  // Their products are sums in registers.
  static constexpr int kColumns = 4, kTileRows = kLanes == 16 ? 6 : kLanes == 8 ? 2 : 3;

  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  RowMap rows;

  void run(Range columns) const {
    for (uint64_t column = columns.begin; column < columns.end; column += kColumns) {
      const uint64_t left = columns.end - column;
      for (uint64_t row = 0, tiles = (rows.count + kTileRows - 1) / kTileRows; tiles > 0; --tiles) {
        const int m = int((rows.count - row + tiles - 1) / tiles);
        choose<kTileRows>(m, row, column, left < kColumns ? int(left) : kColumns);
        row += m;
      }
    }
  }

 private:
  template <int M>
  K_FN void choose(int m, uint64_t row, uint64_t column, int count) const {
    if (m == M) return multiply<M>(row, column, count);
    if constexpr (M > 1) choose<M - 1>(m, row, column, count);
  }

  /// Rows [row, row + M) of x with `count` weight rows; the last of these stands for those that are missing.
  template <int M>
  void multiply(uint64_t row, uint64_t column, int count) const {
    constexpr int kStep = 64 / sizeof(Block);  // a line
    const Block* w[kColumns];
    const float* x[M];
    Vec total[kColumns][M] = {};
    for (int c = 0; c < kColumns; ++c)
      w[c] = reinterpret_cast<const Block*>(weight + (column + (c < count ? c : count - 1)) * row_bytes);
    for (int m = 0; m < M; ++m) x[m] = rows.x(row + m);
    uint64_t i = 0;
    for (; i + kStep <= k; i += kStep) {
      // The next weight rows, while the first rows of x are multiplied.
      if (row == 0)
        Ahead{reinterpret_cast<const uint8_t*>(w[0] + i) + kColumns * row_bytes, row_bytes, kColumns, 1}.in(1).next();
      MLXN_UNROLL
      for (int at = 0; at < kStep; at += kLanes) {
        Vec of_x[M];
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) of_x[m] = load(x[m] + i + at);
        add(w, i + at, of_x, total);
      }
    }
    for (; i < k; i += kLanes) add_last(w, x, i, total);
    for (int m = 0; m < M; ++m)
      for (int c = 0; c < count; ++c) rows.y(row + m)[column + c] = sum(total[c][m]);
  }

  template <int M>
  static K_FN void add(const Block* const (&w)[kColumns], uint64_t i, const Vec (&x)[M], Vec (&total)[kColumns][M]) {
    MLXN_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const Vec of_weights = load_plain<Format>(w[c] + i);
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) total[c][m] = fma(of_weights, x[m], total[c][m]);
    }
  }

  /// The last kLanes values or less, zeros behind them.
  template <int M>
  K_FN void add_last(const Block* const (&w)[kColumns], const float* const (&x)[M], uint64_t i,
                     Vec (&total)[kColumns][M]) const {
    const int n = k - i < kLanes ? int(k - i) : kLanes;
    Block padded[kColumns][kLanes] = {};
    const Block* weights[kColumns];
    Vec of_x[M];
    for (int c = 0; c < kColumns; ++c) {
      __builtin_memcpy(padded[c], w[c] + i, n * sizeof(Block));
      weights[c] = padded[c];
    }
    for (int m = 0; m < M; ++m) of_x[m] = n < kLanes ? load_part(x[m] + i, n) : load(x[m] + i);
    add(weights, 0, of_x, total);
  }
};

/// For kLeastRows to kMostRows rows of x.
template <class Format>
void plain_product(const MatmulArgs& a, Team& team) {
  using Tile = PlainTile<Format>;
  constexpr uint64_t kStream = 64 << 10;
  const Tile tile{a.weight, a.row_bytes, a.k, {a.input, a.output, nullptr, a.m, 1, a.k, a.n}};
  const uint64_t stream = kStream / a.row_bytes, even = a.n / (16 * team.count());
  const uint64_t piece = (stream < even ? stream : even) / Tile::kColumns * Tile::kColumns;
  team.share(a.n, piece ? piece : Tile::kColumns, [&](Range columns) { tile.run(columns); });
}

}  // namespace mlx_native::cpu::MLXN_ISA
