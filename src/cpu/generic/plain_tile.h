// Products of plain weights with some rows of x: a few weight rows and a few rows of x at a time, as both lie in
// memory.
//
// Up to kMostRows rows of x that costs less than a panel (mat_mat.h): a weight becomes a factor in a register, and
// nothing is transposed. A value of y has one sum for each lane, in the order of k, whatever shares the call.
#pragma once

#include "args/matmul.h"
#if MLXN_HAS_BFLOAT_DOT
#include "cpu/generic/bfloat_tile.h"
#endif
#include "cpu/generic/mat_vec.h"
#include "cpu/generic/prepared.h"
#include "cpu/generic/route.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

/// What is multiplied: floats. Rows of x are copied, zeros behind them and an odd number of lines apart, for rows a
/// power of two apart would share sets of the L1.
struct Floats {
  static constexpr Precision kAccuracy = Precision::Full;
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = 16;
  static constexpr uint64_t row_bytes(uint64_t k) { return ((k + kPiece - 1) / kPiece | 1) * kPiece * sizeof(float); }
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
    auto* const row = reinterpret_cast<float*>(to);
    for (uint64_t i = begin * kPiece; i < end * kPiece; ++i) row[i] = i < k ? x[i] : 0;
  }

  template <class Block>
  static constexpr int kMostRows = sizeof(Block) == 2 ? 16 : 8;  // with more of them panels are faster
  static constexpr int kOfVector = kLanes;
  static constexpr uint64_t kBytesOfStream = 0;
  using Factors = Vec;
  template <class Format>
  static K_FN Vec weights(const typename Format::Block* p) {
    return load_plain<Format>(p);
  }
  static K_FN Vec x(const uint8_t* row, uint64_t i) { return load(reinterpret_cast<const float*>(row) + i); }
  static K_FN Vec add(Vec sum, Vec weights, Vec x) { return fma(weights, x, sum); }
};

#if MLXN_HAS_BFLOAT_DOT
/// bfloat16s, of 16-bit weights.
struct Bfloats : BfloatRows {
  static constexpr Precision kAccuracy = Precision::Int8;
  template <class>
  static constexpr int kMostRows = 8;
  static constexpr int kOfVector = 2 * kLanes;
  static constexpr uint64_t kBytesOfStream = 40 << 10;
  using Factors = UIntVec;
  template <class Format>
  static K_FN UIntVec weights(const uint16_t* p) {
    return load_bfloats<Format>(p);
  }
  static K_FN UIntVec x(const uint8_t* row, uint64_t i) {
    return load_bfloats<BF16>(reinterpret_cast<const uint16_t*>(row) + i);
  }
  static K_FN Vec add(Vec sum, UIntVec weights, UIntVec x) { return dot2(sum, weights, x); }
};
#endif

template <class Format, class Numbers>
struct PlainTile {
  using Block = typename Format::Block;
  using Factors = typename Numbers::Factors;
  static constexpr int kOfVector = Numbers::kOfVector;
  static constexpr int kMostRows = Numbers::template kMostRows<Block>;
  // Their products are sums in registers.
  static constexpr int kColumns = 4, kTileRows = kLanes == 16 ? 6 : kLanes == 8 ? 2 : 3;

  /// One row of x is left to PlainDot, unless it would not stay in L1.
  static K_FN bool supports(uint32_t m, uint32_t k) {
    constexpr uint64_t kOfL1 = 40 << 10;
    return m <= kMostRows && (m > 1 || k * sizeof(float) > kOfL1);
  }

  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  Prepared<Numbers> x;
  RowMap rows;

  void run(Range columns) const {
    // Beside rows of x that stay in L1 weights may be one stream.
    if (rows.count * Prepared<Numbers>::stride(k) <= Numbers::kBytesOfStream)
      run<1>(columns);
    else
      run<kColumns>(columns);
  }

 private:
  template <int Columns>
  void run(Range columns) const {
    PagesAhead pages;
    for (uint64_t column = columns.begin; column < columns.end; column += Columns) {
      const uint64_t left = columns.end - column;
      pages.of(weight + column * row_bytes, weight + rows.n * row_bytes);
      for (uint64_t row = 0, tiles = (rows.count + kTileRows - 1) / kTileRows; tiles > 0; --tiles) {
        const int m = int((rows.count - row + tiles - 1) / tiles);
        choose<Columns, kTileRows>(m, row, column, left < Columns ? int(left) : Columns);
        row += m;
      }
    }
  }

  template <int Columns, int M>
  K_FN void choose(int m, uint64_t row, uint64_t column, int count) const {
    if (m == M) return multiply<Columns, M>(row, column, count);
    if constexpr (M > 1) choose<Columns, M - 1>(m, row, column, count);
  }

  /// Rows [row, row + M) of x with `count` weight rows; the last of these stands for those that are missing.
  template <int Columns, int M>
  void multiply(uint64_t row, uint64_t column, int count) const {
    constexpr int kOfLine = 64 / sizeof(Block);
    const int ahead = (streams_into_l2 ? 8192 : Columns > 1 ? 2048 : 6144) / int(sizeof(Block));
    const Block* w[Columns];
    const uint8_t* from[M];
    Vec total[Columns][M] = {};
    for (int c = 0; c < Columns; ++c)
      w[c] = reinterpret_cast<const Block*>(weight + (column + (c < count ? c : count - 1)) * row_bytes);
    for (int m = 0; m < M; ++m) from[m] = x.row(rows, row + m, k);
    uint64_t i = 0;
    for (; i + kOfLine <= k; i += kOfLine) {
      // Weights of the same rows, or of the next ones, while the first rows of x are multiplied.
      if (row == 0) {
        const uint64_t at = i + ahead < k ? i + ahead : i + ahead - k + Columns * row_bytes / sizeof(Block);
        for (int c = 0; c < Columns; ++c) ask(w[c] + at, streams_into_l2);
      }
      MLXN_UNROLL
      for (int j = 0; j < kOfLine; j += kOfVector) {
        Factors of_x[M];
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) of_x[m] = Numbers::x(from[m], i + j);
        add(w, i + j, of_x, total);
      }
    }
    for (; i < k; i += kOfVector) add_last(w, from, i, total);
    for (int m = 0; m < M; ++m)
      for (int c = 0; c < count; ++c) rows.y(row + m)[column + c] = sum(total[c][m]);
  }

  template <int Columns, int M>
  static K_FN void add(const Block* const (&w)[Columns], uint64_t i, const Factors (&x)[M], Vec (&total)[Columns][M]) {
    MLXN_UNROLL
    for (int c = 0; c < Columns; ++c) {
      const Factors of_weights = Numbers::template weights<Format>(w[c] + i);
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) total[c][m] = Numbers::add(total[c][m], of_weights, x[m]);
    }
  }

  /// The last kOfVector values or less, zeros behind them.
  template <int Columns, int M>
  K_FN void add_last(const Block* const (&w)[Columns], const uint8_t* const (&from)[M], uint64_t i,
                     Vec (&total)[Columns][M]) const {
    const uint64_t n = k - i < kOfVector ? k - i : kOfVector;
    Block padded[Columns][kOfVector] = {};
    const Block* weights[Columns];
    Factors of_x[M];
    for (int c = 0; c < Columns; ++c) {
      __builtin_memcpy(padded[c], w[c] + i, n * sizeof(Block));
      weights[c] = padded[c];
    }
    for (int m = 0; m < M; ++m) of_x[m] = Numbers::x(from[m], i);
    add(weights, 0, of_x, total);
  }
};

/// For what PlainTile supports.
template <class Format, class Numbers>
void plain_product(const MatmulArgs& a, Team& team) {
  using Tile = PlainTile<Format, Numbers>;
  constexpr uint64_t kStream = 64 << 10;
  const Prepared<Numbers> x = prepare_few<Numbers>(a, team);
  const Tile tile{a.weight, a.row_bytes, a.k, x, {a.input, a.output, nullptr, a.m, 1, a.k, a.n}};
  const uint64_t stream = kStream / a.row_bytes, even = a.n / (16 * team.count());
  const uint64_t most = (stream < even ? stream : even) / Tile::kColumns;
  team.share(a.n, {Tile::kColumns, most ? most : 1}, [&](Range columns) { tile.run(columns); });
}

}  // namespace mlx_native::cpu::MLXN_ISA
