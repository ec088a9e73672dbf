// Products with few rows of x: each weight is read from memory and decoded once for up to kRowsAtOnce rows.
//
// A group of codes is multiplied as it is; its scale and what bias and offset add enter once per group:
//   sum of (scale * (code - bias) + offset) * x = scale * sum of code * x + (offset - bias * scale) * sum of x
#pragma once

#include "args/matmul.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/route.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kRowsAtOnce = 4;

template <class Format>
constexpr bool needs_group_sums() {
  if constexpr (Format::kPlain)
    return false;
  else
    return Format::kHasOffset || Format::kBias != 0;
}
/// Group sums of a row of x.
template <class Format>
constexpr uint64_t group_count(uint32_t k) {
  if constexpr (needs_group_sums<Format>())
    return k / Format::kGroup;
  else
    return 0;
}

/// Every worker does a part of the sums of all rows.
template <class Format>
void sum_groups(const float* x, uint64_t rows, uint32_t k, float* sums, Team& team) {
  if constexpr (needs_group_sums<Format>()) {
    const Range groups = team.part(rows * group_count<Format>(k), 16);
    for (uint64_t g = groups.begin; g < groups.end; ++g) {
      Vec total = load(x + g * Format::kGroup);
      for (int i = kLanes; i < Format::kGroup; i += kLanes) total += load(x + g * Format::kGroup + i);
      sums[g] = sum(total);
    }
  }
}

/// Rows of x that share a pass over the weights, with their group sums.
template <int M>
struct VecRows {
  const float* x[M];
  const float* sums[M];
};

/// The sums of one weight row with M rows of x. Two chains, so that one does not wait for the other.
template <class Format, int M>
struct DotSums {
  Vec total[2][M] = {};
  float rest[2][M] = {};

  template <int Chain>
  K_FN void add_group(const VecRows<M>& rows, const typename Format::Block& block, uint32_t b, int group) {
    constexpr int kGroups = Format::kValues / Format::kGroup, kRuns = Format::kGroup / 16;
    const Affine affine = Format::affine(block, group);
    Vec part[M] = {};
    for (int run = 0; run < kRuns; ++run) {
      const Run codes = to_run(Format::codes(CodeReader{}, block, kRuns * group + run));
      for (int p = 0; p < kRunParts; ++p) {
        const uint32_t at = b * Format::kValues + Format::kGroup * group + 16 * run + kLanes * p;
        for (int m = 0; m < M; ++m) part[m] = fma(codes.part[p], load(rows.x[m] + at), part[m]);
      }
    }
    for (int m = 0; m < M; ++m) {
      total[Chain][m] = fma(splat(affine.scale), part[m], total[Chain][m]);
      if constexpr (needs_group_sums<Format>())
        rest[Chain][m] += (affine.offset - float(Format::kBias) * affine.scale) * rows.sums[m][b * kGroups + group];
    }
  }

  template <int FirstChain>
  K_FN void add_block(const VecRows<M>& rows, const typename Format::Block& block, uint32_t b) {
    for (int group = 0; group < Format::kValues / Format::kGroup; group += 2) {
      add_group<FirstChain>(rows, block, b, group);
      if constexpr (Format::kValues > Format::kGroup) add_group<1 - FirstChain>(rows, block, b, group + 1);
    }
  }
};

/// out[m] = the dot product of row m with a weight row.
template <class Format, int M>
K_FN void dot(const typename Format::Block* row, const VecRows<M>& rows, uint32_t k, float* out) {
  if constexpr (Format::kPlain) {
    Vec total[2][M] = {};
    uint32_t i = 0;
    for (; i + 2 * kLanes <= k; i += 2 * kLanes)
      for (int half = 0; half < 2; ++half) {
        const Vec w = load_plain<Format>(row + i + half * kLanes);
        for (int m = 0; m < M; ++m) total[half][m] = fma(w, load(rows.x[m] + i + half * kLanes), total[half][m]);
      }
    for (int m = 0; m < M; ++m) out[m] = sum(total[0][m] + total[1][m]);
    for (; i < k; ++i)
      for (int m = 0; m < M; ++m) out[m] += Format::value(row[i]) * rows.x[m][i];
  } else {
    DotSums<Format, M> sums;
    const uint32_t blocks = k / Format::kValues;
    uint32_t b = 0;
    for (; b + 2 <= blocks; b += 2) {
      sums.template add_block<0>(rows, row[b], b);
      sums.template add_block<1>(rows, row[b + 1], b + 1);
    }
    if (b < blocks) sums.template add_block<0>(rows, row[b], b);
    for (int m = 0; m < M; ++m) out[m] = sum(sums.total[0][m] + sums.total[1][m]) + (sums.rest[0][m] + sums.rest[1][m]);
  }
}

/// A product whose rows of x and y are chosen by `rows`; this worker makes columns `columns` of y.
template <class Format>
struct MatVecJob {
  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  const float* sums;
  RowMap rows;

  template <int M>
  K_FN void run(uint64_t first, uint64_t column) const {
    VecRows<M> chosen;
    for (int m = 0; m < M; ++m) {
      chosen.x[m] = rows.x(first + m);
      chosen.sums[m] = sums + rows.x_row(first + m) * group_count<Format>(k);
    }
    float out[M];
    dot<Format, M>(blocks_of<Format>(weight + column * row_bytes), chosen, k, out);
    for (int m = 0; m < M; ++m) rows.y(first + m)[column] = out[m];
  }

  void run(Range columns) const {
    for (uint64_t column = columns.begin; column < columns.end; ++column) {
      uint64_t row = 0;
      for (; row + 4 <= rows.count; row += 4) run<4>(row, column);
      switch (rows.count - row) {
        case 3: run<3>(row, column); break;
        case 2: run<2>(row, column); break;
        case 1: run<1>(row, column); break;
        default: break;
      }
    }
  }
};

template <class Format>
std::size_t mat_vec_scratch(const MatmulArgs& a) {
  return a.m * group_count<Format>(a.k) * sizeof(float);
}

template <class Format>
void mat_vec(const MatmulArgs& a, Team& team) {
  float* const sums = reinterpret_cast<float*>(a.scratch);
  if constexpr (needs_group_sums<Format>()) {
    sum_groups<Format>(a.input, a.m, a.k, sums, team);
    team.barrier();
  }
  const RowMap rows{a.input, a.output, nullptr, a.m, 1, a.k, a.n};
  MatVecJob<Format>{a.weight, a.row_bytes, a.k, sums, rows}.run(team.part(a.n));
}

template <class Format>
std::size_t mat_vec_id_scratch(const MatmulIdArgs& a) {
  return route_scratch(a) + a.n_tokens * group_count<Format>(a.k) * sizeof(float);
}

template <class Format>
void mat_vec_id(const MatmulIdArgs& a, Team& team) {
  float* const sums = reinterpret_cast<float*>(a.scratch + route_scratch(a));
  sum_groups<Format>(a.input, a.n_tokens, a.k, sums, team);
  const Route route = make_route(a, team);
  team.barrier();
  for (uint64_t expert = 0; expert < a.n_experts; ++expert)
    MatVecJob<Format>{a.weight + expert * a.expert_stride, a.row_bytes, a.k, sums, route.rows_of(a, expert)}.run(
        team.part(a.n));
  route.fill_bad_rows(a, team);
}

}  // namespace mlx_native::cpu::MLXN_ISA
