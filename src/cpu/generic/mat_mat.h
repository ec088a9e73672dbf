// Products with several rows of x: a tile of weights is decoded to L1 and multiplied with all rows.
//
// Columns of y are weight rows; they lie in the lanes of vectors. How weights and rows of x are multiplied is a `Way`
// (byte_panel.h, float_panel.h), which decodes kLength values of kColumns weight rows and multiplies them with up to
// kTileRows rows of x. Every value of y is made in one order, whatever shares the call: kLength values of k after the
// other.
//
//   for a block of kBlockRows rows of x, a block of columns:
//     for a span of k whose part of x stays in L2, kColumns columns, kLength of the span:
//       decode, then a tile of rows after the other
//     write what tiles have not
#pragma once

#include "args/matmul.h"
#include "cpu/simd/simd.h"
#if MLXN_HAS_BYTES
#include "cpu/generic/byte_panel.h"
#endif
#if MLXN_HAS_WORDS
#include "cpu/generic/word_panel.h"
#endif
#if MLXN_HAS_TILES
#include "cpu/generic/amx_panel.h"
#endif
#include "cpu/generic/float_panel.h"
#include "cpu/generic/prepared.h"
#include "cpu/generic/routed.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format, class Way>
struct MatMatJob {
  static constexpr int kColumns = Way::kColumns, kVectors = Way::kVectors;
  /// Of a block of y, between begin() and end().
  static constexpr bool kTakesAllRows = requires { Way::begin(); };
  static constexpr int kBlockRows = kTakesAllRows ? 512 : 256;
  static constexpr int kBlockColumns = Way::kBlockColumns;
  static_assert(kBlockColumns % kColumns == 0);

  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  Prepared<Way> x;
  RowMap rows;
  uint8_t* local;  // Way::kBytes of a panel, room for kLanes of its rows in their format, a block of y
  static constexpr std::size_t kCopies = Way::kBytes, kSums = kCopies + kLanes * Way::kLength * sizeof(float);
  static_assert(kSums % 64 == 0 && kSums + kBlockRows * kBlockColumns * sizeof(float) <= Team::kLocalBytes);

  void run(Range columns) const {
    if constexpr (kTakesAllRows) Way::begin();
    for (uint64_t row = 0; row < rows.count; row += kBlockRows) {
      const uint64_t row_end = row + kBlockRows < rows.count ? row + kBlockRows : rows.count;
      for (uint64_t column = columns.begin; column < columns.end; column += kBlockColumns) {
        const uint64_t end = column + kBlockColumns < columns.end ? column + kBlockColumns : columns.end;
        multiply_block(row, row_end, {column, end});
        const uint64_t written = kTakesAllRows ? column : column + (end - column) / kColumns * kColumns;
        for (uint64_t i = row; written < end && i < row_end; ++i)
          write_row(i, i - row, row_end - row, {column, end}, written);
      }
    }
    if constexpr (kTakesAllRows) Way::end();
  }

 private:
  /// A part of kColumns weight rows.
  struct Part {
    uint64_t column;
    int columns;
    uint32_t start;
    int length;
  };

  /// The parts of a block of columns in their order.
  struct Walk {
    Range columns;
    uint32_t k, span;
    uint64_t column;
    uint32_t span_start = 0, start = 0;

    K_FN uint32_t span_end() const { return span < k - span_start ? span_start + span : k; }
    K_FN bool done() const { return span_start >= k; }
    K_FN Part part() const {
      const uint64_t left = columns.end - column;
      const uint32_t length = span_end() - start;
      return {column, left < kColumns ? int(left) : kColumns, start,
              length < Way::kLength ? int(length) : Way::kLength};
    }
    K_FN void advance() {
      start += Way::kLength;
      if (start < span_end()) return;
      column += kColumns;
      if (column >= columns.end) {
        column = columns.begin;
        span_start = span_end();
      }
      start = span_start;
    }
  };

  void multiply_block(uint64_t row, uint64_t row_end, Range columns) const {
    const uint64_t chunks = kBlockRows / (row_end - row), all = (k + Way::kLength - 1) / Way::kLength;
    Walk walk{columns, k, uint32_t(chunks < all ? chunks : all) * Way::kLength, columns.begin};
    while (!walk.done()) {
      const Part part = walk.part();
      walk.advance();
      // The next part comes to L1 as evenly as work goes on: while this one is decoded, multiplied, or half and half.
      const Ahead ahead =
          ahead_of(walk.done() ? Walk{{columns.end, columns.end + kColumns}, k, k, columns.end}.part() : walk.part());
      const int in_decode = !Way::kMultiplyAsks ? 1 : row_end - row > Way::kTileRows ? 0 : 2;
      decode(part, ahead.part(0, in_decode));
      float* const to = sums() + (part.column - columns.begin) * (row_end - row);
      if constexpr (kTakesAllRows) {
        typename Way::X x_rows[kBlockRows];
        for (uint64_t i = row; i < row_end; ++i) x_rows[i - row] = x.part(rows, i, k, part.start);
        Way::multiply(int(row_end - row), local, part.length, x_rows, to, part.start > 0);
      } else {
        multiply(row, row_end, part, in_decode ? ahead.part(1, in_decode) : ahead, to);
      }
    }
  }

  static constexpr uint64_t bytes_of(uint64_t values) {
    return values / Format::kValues * sizeof(typename Format::Block);
  }
  K_FN const uint8_t* at(const Part& part, int column) const {
    return weight + (part.column + column) * row_bytes + bytes_of(part.start);
  }

  K_FN Ahead ahead_of(const Part& part) const {
    return {at(part, 0), row_bytes, part.columns, int(bytes_of(part.length))};
  }

  void decode(const Part& part, const Ahead& ahead) const {
    for (int v = 0; v < kVectors && v * kLanes < part.columns; ++v) {
      const int count = part.columns - v * kLanes;
      if (count >= kLanes) {
        Way::decode(at(part, v * kLanes), row_bytes, part.length, local, v, ahead.part(v, kVectors));
      } else {
        // The last rows of the matrix: the last of them stands for those that are missing.
        const uint64_t bytes = bytes_of(part.length);
        uint8_t* const copies = local + kCopies;
        for (int i = 0; i < kLanes; ++i)
          __builtin_memcpy(copies + i * bytes, at(part, v * kLanes + (i < count ? i : count - 1)), bytes);
        Way::decode(copies, bytes, part.length, local, v, ahead.none());
      }
    }
  }

  /// Of a block of y: kColumns of all rows one after the other.
  K_FN float* sums() const { return reinterpret_cast<float*>(local + kSums); }

  /// Tiles during which the next part is asked for: with more of them the last rows of it come too late.
  static constexpr int kAskingTiles = Format::kPlain ? 4 : 2;

  /// Rows are cut into tiles as even as can be: few rows leave too few sums to fill the pipelines. Whole tiles of the
  /// last part go straight to y, whose lines come while they are multiplied: such stores would hold loads up.
  void multiply(uint64_t row, uint64_t end, const Part& part, const Ahead& ahead, float* to) const {
    const bool last = part.start + part.length == k && part.columns == kColumns;
    const uint64_t all = (end - row + Way::kTileRows - 1) / Way::kTileRows;
    for (uint64_t tile = 0; tile < all; ++tile) {
      const uint64_t tiles = all - tile;
      const int m = int((end - row + tiles - 1) / tiles);
      typename Way::X x_rows[Way::kTileRows];
      Vec y[Way::kTileRows][kVectors];
      for (int i = 0; i < m; ++i) {
        x_rows[i] = x.part(rows, row + i, k, part.start);
        for (int at = 0; last && at < kColumns; at += 16) __builtin_prefetch(rows.y(row + i) + part.column + at, 1);
      }
      Way::multiply(m, local, part.length, x_rows, y,
                    ahead.part(int(tile), all < kAskingTiles ? int(all) : kAskingTiles));
      for (int i = 0; i < m; ++i) {
        float* const at = last ? rows.y(row + i) + part.column : to;
        for (int v = 0; v < kVectors; ++v, to += kLanes)
          store(at + v * kLanes, part.start ? load(to) + y[i][v] : y[i][v]);
      }
      row += m;
    }
  }

  /// Columns of the block from `first` on.
  void write_row(uint64_t row, uint64_t of_block, uint64_t block_rows, Range columns, uint64_t first) const {
    float* const y = rows.y(row);
    for (uint64_t column = first; column < columns.end; column += kColumns) {
      const float* const from = sums() + (column - columns.begin) * block_rows + of_block * kColumns;
      const uint64_t left = columns.end - column;
      __builtin_memcpy(y + column, from, (left < kColumns ? left : kColumns) * sizeof(float));
    }
  }
};

/// Columns that a worker takes at a time of `products` products of n columns with `rows` rows of x in all: a piece goes
/// through x anew, so it should not be small; nor at the end, where few rows make a worker wait for weights.
template <class Job>
Pieces pieces_of_columns(uint64_t n, uint64_t products, uint64_t rows, const Team& team) {
  constexpr uint64_t kFewRows = 32;
  const uint64_t most = (products == 1 || n < Job::kBlockColumns ? Job::kBlockColumns : n) / Job::kColumns;
  if (rows >= kFewRows * products) return {Job::kColumns, most};
  const uint64_t even = products * n / (8 * team.count()) / Job::kColumns;
  return {(even < 1 ? 1 : even < most ? even : most) * Job::kColumns};
}

template <class Format, class Way>
std::size_t mat_mat_scratch(const MatmulArgs& a) {
  return Prepared<Way>::bytes(a.m, a.k);
}

template <class Format, class Way>
void mat_mat(const MatmulArgs& a, Team& team) {
  const Prepared<Way> x{a.scratch, a.m};
  x.make(a.input, a.m, a.k, team);
  if constexpr (Way::kPrepares) team.barrier();
  const RowMap rows{a.input, a.output, nullptr, a.m, 1, a.k, a.n};
  const MatMatJob<Format, Way> job{a.weight, a.row_bytes, a.k, x, rows, reinterpret_cast<uint8_t*>(team.local())};
  using Job = MatMatJob<Format, Way>;
  team.share(a.n, pieces_of_columns<Job>(a.n, 1, a.m, team), [&](Range columns) { job.run(columns); });
}

template <class Format, class Way>
void mat_mat_id(const MatmulIdArgs& a, Team& team) {
  using Job = MatMatJob<Format, Way>;
  routed_product<Way>(a, team, pieces_of_columns<Job>(a.n, products_of(a), uint64_t{a.n_tokens} * a.top_k, team), false,
                      [&](const uint8_t* weight, const Prepared<Way>& x, const RowMap& rows) {
                        return Job{weight, a.row_bytes, a.k, x, rows, reinterpret_cast<uint8_t*>(team.local())};
                      });
}

}  // namespace mlx_native::cpu::MLXN_ISA
