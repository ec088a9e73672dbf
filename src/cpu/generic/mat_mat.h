// Products with many rows of x: a tile of weights is decoded to floats in L1 and multiplied with all rows.
//
// Every value of y is made in one order, whatever shares the call: blocks of kBlockK along k one after the other, in
// each kLanes sums along k, then their sum.
//
//   for a block of kBlockRows rows of x, a span of k whose part of x stays in L2, kColumns weight rows:
//     for kBlockK of the span: decode kColumns x kBlockK weights, then a register tile after the other
#pragma once

#include "args/matmul.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/route.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

// kTileRows x 4 sums live in registers. The decoded tile and kTileRows parts of x share L1: 24 and 12 KiB at most.
inline constexpr int kTileColumns = 4, kColumns = 12, kBlockK = 512, kBlockRows = 256;
static_assert(kColumns * kBlockK * sizeof(float) <= Team::kLocalBytes);

/// y[m][n] (+)= x[m] . w[n] over `k` values for 4 n, `columns` of which are stored; w has kBlockK floats a row, zeros
/// from k to the next multiple of kLanes.
template <int M>
K_FN void multiply_tile(const float* const (&x)[M], const float* w, int k, float* const (&y)[M], int columns,
                        bool add) {
  Vec total[M][kTileColumns];
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < kTileColumns; ++n) total[m][n] = Vec{};
  const auto step = [&](int i, const auto& load_x) __attribute__((always_inline)) {
    Vec xv[M];
    for (int m = 0; m < M; ++m) xv[m] = load_x(x[m] + i);
    for (int n = 0; n < kTileColumns; ++n) {
      const Vec wv = load(w + n * kBlockK + i);
      for (int m = 0; m < M; ++m) total[m][n] = fma(xv[m], wv, total[m][n]);
    }
  };
  int i = 0;
  for (; i + kLanes <= k; i += kLanes) step(i, [](const float* p) { return load(p); });
  if (i < k) step(i, [&](const float* p) { return load_part(p, k - i); });
  for (int m = 0; m < M; ++m) {
    Quad sums = sum4(total[m][0], total[m][1], total[m][2], total[m][3]);
    if (columns >= kTileColumns) {
      if (add) sums += load_quad(y[m]);
      store_quad(y[m], sums);
    } else {
      for (int n = 0; n < columns; ++n) y[m][n] = add ? y[m][n] + sums[n] : sums[n];
    }
  }
}

template <class Format>
struct MatMatJob {
  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  RowMap rows;
  float* tile;  // kColumns x kBlockK
  static_assert(kBlockK % Format::kValues == 0);

  /// A part of kColumns weight rows.
  struct Part {
    uint64_t column;
    int columns;
    uint32_t start;
    int length;
  };

  K_FN const typename Format::Block* blocks(const Part& part, int n) const {
    return blocks_of<Format>(weight + (part.column + n) * row_bytes) + part.start / Format::kValues;
  }

  void decode(const Part& part) const {
    for (int n = 0; n < kColumns; ++n) {
      float* const out = tile + n * kBlockK;
      int i = 0;
      if (n < part.columns) {
        decode_row<Format>(blocks(part, n), part.length, out);
        i = part.length;
      }
      for (; i < (part.length + kLanes - 1) / kLanes * kLanes; ++i) out[i] = 0;
    }
  }

  /// Brings the first lines of each row of a part to come: the hardware sees no pattern in their order.
  K_FN void prefetch(const Part& part) const {
    const int bytes = int(sizeof(typename Format::Block)) * part.length / Format::kValues;
    for (int n = 0; n < part.columns; ++n)
      for (int at = 0; at < bytes && at < 512; at += 64)
        __builtin_prefetch(reinterpret_cast<const uint8_t*>(blocks(part, n)) + at);
  }

  template <int M>
  K_FN void multiply_rows(uint64_t row, const Part& part) const {
    const float* x[M];
    for (int m = 0; m < M; ++m) x[m] = rows.x(row + m) + part.start;
    for (int n = 0; n < part.columns; n += kTileColumns) {
      float* y[M];
      for (int m = 0; m < M; ++m) y[m] = rows.y(row + m) + part.column + n;
      multiply_tile<M>(x, tile + n * kBlockK, part.length, y, part.columns - n, part.start != 0);
    }
  }

  void multiply(uint64_t row, uint64_t end, const Part& part) const {
    for (; row + kTileRows <= end; row += kTileRows) multiply_rows<kTileRows>(row, part);
    if constexpr (kTileRows > 4)
      for (; row + 4 <= end; row += 4) multiply_rows<4>(row, part);
    if constexpr (kTileRows > 2)
      for (; row + 2 <= end; row += 2) multiply_rows<2>(row, part);
    for (; row < end; ++row) multiply_rows<1>(row, part);
  }

  void run(Range columns) const {
    for (uint64_t row = 0; row < rows.count; row += kBlockRows) {
      const uint64_t row_end = row + kBlockRows < rows.count ? row + kBlockRows : rows.count;
      const uint64_t span = kBlockRows / (row_end - row) * kBlockK;
      for (uint64_t span_start = 0; span_start < k; span_start += span) {
        const uint64_t span_end = span_start + span < k ? span_start + span : k;
        for (uint64_t column = columns.begin; column < columns.end; column += kColumns) {
          const int count = int(columns.end - column < kColumns ? columns.end - column : kColumns);
          const uint64_t next = columns.end - column - count;
          for (uint64_t start = span_start; start < span_end; start += kBlockK) {
            const int length = int(span_end - start < kBlockK ? span_end - start : kBlockK);
            decode({column, count, uint32_t(start), length});
            if (start + kBlockK < span_end)
              prefetch({column, count, uint32_t(start + kBlockK), length});
            else if (next > 0)
              prefetch({column + kColumns, next < kColumns ? int(next) : kColumns, uint32_t(span_start), length});
            multiply(row, row_end, {column, count, uint32_t(start), length});
          }
        }
      }
    }
  }
};

/// Columns that a worker takes at a time. A piece goes through x anew, so it must not be small.
inline uint64_t columns_of_piece(uint64_t n, const Team& team) {
  const uint64_t even = n / (6 * team.count()) / kColumns * kColumns;
  return even ? even : kColumns;
}

template <class Format>
void mat_mat(const MatmulArgs& a, Team& team) {
  const RowMap rows{a.input, a.output, nullptr, a.m, 1, a.k, a.n};
  const MatMatJob<Format> job{a.weight, a.row_bytes, a.k, rows, reinterpret_cast<float*>(team.local())};
  team.share(a.n, columns_of_piece(a.n, team), [&](Range columns) { job.run(columns); });
}

template <class Format>
void mat_mat_id(const MatmulIdArgs& a, Team& team) {
  const Route route = make_route(a, team);
  team.barrier();
  for (uint64_t expert = 0; expert < a.n_experts; ++expert) {
    const RowMap rows = route.rows_of(a, expert);
    if (rows.count == 0) continue;
    const MatMatJob<Format> job{a.weight + expert * a.expert_stride, a.row_bytes, a.k, rows,
                                reinterpret_cast<float*>(team.local())};
    team.share(a.n, columns_of_piece(a.n, team), [&](Range columns) { job.run(columns); });
  }
  route.fill_bad_rows(a, team);
}

}  // namespace mlx_native::cpu::MLXN_ISA
