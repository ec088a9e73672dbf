// Products with many rows of x: a tile of weights is decoded to floats in L1 and multiplied with all rows.
//
// Every value of y is made in one order, whatever shares the call: blocks of kBlockK along k one after the other, in
// each kLanes sums along k, then their sum. The register tile of kTileRows x kTileColumns such sums needs one load per
// 1 / (1 / rows + 1 / columns) multiplications.
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

inline constexpr int kBlockK = 512, kColumns = 2 * kTileColumns, kBlockRows = 256;
static_assert(kColumns * kBlockK * sizeof(float) <= Team::kLocalBytes);

/// y[m][n] (+)= x[m] . w[n] over `k` values; w has kBlockK floats a row, zeros beyond k. N tile columns, `columns` of
/// them stored.
template <int M, int N>
K_FN void multiply_tile(const float* const (&x)[M], const float* w, int k, float* const (&y)[M], int columns,
                        bool add) {
  Vec total[M][N] = {};
  int i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    Vec xv[M];
    for (int m = 0; m < M; ++m) xv[m] = load(x[m] + i);
    for (int n = 0; n < N; ++n) {
      const Vec wv = load(w + n * kBlockK + i);
      for (int m = 0; m < M; ++m) total[m][n] = fma(xv[m], wv, total[m][n]);
    }
  }
  if (i < k)
    for (int m = 0; m < M; ++m) {
      const Vec xv = load_part(x[m] + i, k - i);
      for (int n = 0; n < N; ++n) total[m][n] = fma(xv, load(w + n * kBlockK + i), total[m][n]);
    }
  for (int m = 0; m < M; ++m) {
    float sums[N];
    int n = 0;
    for (; n + 4 <= N; n += 4) {
      const Quad four = sum4(total[m][n], total[m][n + 1], total[m][n + 2], total[m][n + 3]);
      __builtin_memcpy(sums + n, &four, sizeof four);
    }
    for (; n < N; ++n) sums[n] = sum(total[m][n]);
    for (n = 0; n < columns && n < N; ++n) y[m][n] = add ? y[m][n] + sums[n] : sums[n];
  }
}

template <class Format>
struct MatMatJob {
  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  RowMap rows;
  float* tile;  // kColumns x kBlockK

  void decode_tile(uint64_t column, int columns, uint32_t start, int length) const {
    for (int n = 0; n < kColumns; ++n) {
      float* const out = tile + n * kBlockK;
      int i = 0;
      if (n < columns) {
        decode_row<Format>(blocks_of<Format>(weight + (column + n) * row_bytes) + start / Format::kValues, length, out);
        i = length;
      }
      for (; i < (length + kLanes - 1) / kLanes * kLanes; ++i) out[i] = 0;
    }
  }

  template <int M>
  K_FN void run_rows(uint64_t row, uint64_t column, int columns, uint32_t start, int length) const {
    // One row alone takes all columns at once: its sums must be enough to hide the latency of the FMA.
    constexpr int kStep = M == 1 ? kColumns : kTileColumns;
    const float* x[M];
    for (int m = 0; m < M; ++m) x[m] = rows.x(row + m) + start;
    for (int n = 0; n < columns; n += kStep) {
      float* y[M];
      for (int m = 0; m < M; ++m) y[m] = rows.y(row + m) + column + n;
      multiply_tile<M, kStep>(x, tile + n * kBlockK, length, y, columns - n, start != 0);
    }
  }

  void run_tile(uint64_t row, uint64_t row_end, uint64_t column, int columns, uint32_t start, int length) const {
    decode_tile(column, columns, start, length);
    for (; row + kTileRows <= row_end; row += kTileRows) run_rows<kTileRows>(row, column, columns, start, length);
    const uint64_t left = row_end - row;
    if (kTileRows > 3 && left == 3) run_rows<3>(row, column, columns, start, length);
    if (kTileRows > 2 && left == 2) run_rows<2>(row, column, columns, start, length);
    if (left == 1) run_rows<1>(row, column, columns, start, length);
  }

  void run(Range columns) const {
    for (uint64_t row = 0; row < rows.count; row += kBlockRows) {
      const uint64_t row_end = row + kBlockRows < rows.count ? row + kBlockRows : rows.count;
      const uint32_t span = uint32_t(kBlockRows / (row_end - row)) * kBlockK;
      for (uint64_t span_start = 0; span_start < k; span_start += span) {
        const uint64_t span_end = span_start + span < k ? span_start + span : k;
        for (uint64_t column = columns.begin; column < columns.end; column += kColumns) {
          const int count = int(columns.end - column < kColumns ? columns.end - column : kColumns);
          for (uint64_t start = span_start; start < span_end; start += kBlockK)
            run_tile(row, row_end, column, count, uint32_t(start),
                     int(span_end - start < kBlockK ? span_end - start : kBlockK));
        }
      }
    }
  }
};

template <class Format>
void mat_mat(const MatmulArgs& a, Team& team) {
  const RowMap rows{a.input, a.output, nullptr, a.m, 1, a.k, a.n};
  MatMatJob<Format>{a.weight, a.row_bytes, a.k, rows, reinterpret_cast<float*>(team.local())}.run(
      team.part(a.n, kColumns));
}

template <class Format>
void mat_mat_id(const MatmulIdArgs& a, Team& team) {
  const Route route = make_route(a, team);
  team.barrier();
  for (uint64_t expert = 0; expert < a.n_experts; ++expert)
    MatMatJob<Format>{a.weight + expert * a.expert_stride, a.row_bytes, a.k, route.rows_of(a, expert),
                      reinterpret_cast<float*>(team.local())}
        .run(team.part(a.n, kColumns));
  route.fill_bad_rows(a, team);
}

}  // namespace mlx_native::cpu::MLXN_ISA
