// Products with few rows of x: each weight is read from memory once, and decoded once for up to Dot::kRowsAtOnce rows.
#pragma once

#include "args/matmul.h"
#include "cpu/generic/dot_float.h"
#include "cpu/generic/prepared.h"
#include "cpu/generic/routed.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format, bool Plain = Format::kPlain>
struct ChooseDot {
  using Type = FloatDot<Format>;
};
template <class Format>
struct ChooseDot<Format, true> {
  using Type = PlainDot<Format>;
};
template <class Format>
using DotOf = typename ChooseDot<Format>::Type;

/// Asks for a line of each page of weights long before the others: translations then are known, or foreseen for the
/// constant stride, when the page's lines are asked for. Loads instead of prefetches stop everything where they are not
/// foreseen. From page to page it is the next line, for lines a page apart share one set of the L1 (q4_K: 15 GB/s
/// instead of 29).
struct PagesAhead {
  static constexpr uint64_t kStride = 4096 + 64, kDistance = 16 * kStride;
  const uint8_t *next, *end;

  K_FN void of(const uint8_t* at) {
    for (; next < end && next < at + kDistance; next += kStride) __builtin_prefetch(next);
  }
};

/// A product whose rows of x and y are chosen by `rows`.
template <class Format, class Dot>
struct MatVecJob {
  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  Prepared<Dot> prepared;
  RowMap rows;

  /// With more rows of x memory waits for arithmetic.
  static constexpr uint64_t kRowsBehindPages = Dot::kRowsAtOnce >= 4 ? 2 : 1;

  template <int M>
  K_FN void run(uint64_t first, uint64_t column) const {
    typename Dot::template X<M> x;
    for (int m = 0; m < M; ++m)
      Dot::set(x, m, rows.x(first + m), k, prepared.memory + rows.x_row(first + m) * prepared.stride(k));
    float out[M];
    Dot::template dot<M>(blocks_of<Format>(weight + column * row_bytes), x, k, out);
    for (int m = 0; m < M; ++m) rows.y(first + m)[column] = out[m];
  }

  /// One weight row after the other, the way they lie in memory.
  void run(Range columns) const {
    PagesAhead pages{weight + columns.begin * row_bytes, weight + rows.n * row_bytes};
    for (uint64_t column = columns.begin; column < columns.end; ++column) {
      if (rows.count <= kRowsBehindPages) pages.of(weight + column * row_bytes);
      uint64_t row = 0;
      if constexpr (Dot::kRowsAtOnce >= 4)
        for (; row + 4 <= rows.count; row += 4) run<4>(row, column);
      if constexpr (Dot::kRowsAtOnce >= 2)
        for (; row + 2 <= rows.count; row += 2) run<2>(row, column);
      for (; row < rows.count; ++row) run<1>(row, column);
    }
  }
};

/// Weight rows that a worker takes at a time: few enough to even out the workers, enough bytes that one who helps
/// another reads a stream.
inline uint64_t rows_of_piece(uint64_t n, uint64_t row_bytes, const Team& team) {
  constexpr uint64_t kStream = 64 << 10;
  const uint64_t stream = kStream / row_bytes, even = n / (16 * team.count());
  const uint64_t rows = stream < even ? stream : even;
  return rows ? rows : 1;
}

/// So little to prepare that every worker rather makes all of it in its own memory than waits for the others.
template <class Dot>
K_FN bool is_small(uint64_t rows, uint64_t k) {
  return rows * k <= 32768 && Prepared<Dot>::bytes(rows, k) <= Team::kLocalBytes;
}

template <class Format, class Dot>
std::size_t mat_vec_scratch(const MatmulArgs& a) {
  return is_small<Dot>(a.m, a.k) ? 0 : Prepared<Dot>::bytes(a.m, a.k);
}

template <class Format, class Dot>
void mat_vec(const MatmulArgs& a, Team& team) {
  const bool small = is_small<Dot>(a.m, a.k);
  const Prepared<Dot> prepared{small ? reinterpret_cast<uint8_t*>(team.local()) : a.scratch};
  if (small) {
    prepared.make(a.input, a.k, {0, a.m * prepared.pieces(a.k)});
  } else {
    prepared.make(a.input, a.m, a.k, team);
    if constexpr (Dot::kPrepares) team.barrier();
  }
  const RowMap rows{a.input, a.output, nullptr, a.m, 1, a.k, a.n};
  const MatVecJob<Format, Dot> job{a.weight, a.row_bytes, a.k, prepared, rows};
  team.share(a.n, rows_of_piece(a.n, a.row_bytes, team), [&](Range columns) { job.run(columns); });
}

template <class Dot>
K_FN bool is_small_routed(const MatmulIdArgs& a) {
  return is_small<Dot>(a.n_tokens, a.k) && routed_scratch<Dot>(a) <= Team::kLocalBytes;
}

template <class Format, class Dot>
std::size_t mat_vec_id_scratch(const MatmulIdArgs& a) {
  return is_small_routed<Dot>(a) ? 0 : routed_scratch<Dot>(a);
}

template <class Format, class Dot>
void mat_vec_id(const MatmulIdArgs& a, Team& team) {
  routed_product<Dot>(a, team, rows_of_piece(a.n, a.row_bytes, team), is_small_routed<Dot>(a),
                      [&](const uint8_t* weight, const Prepared<Dot>& x, const RowMap& rows) {
                        return MatVecJob<Format, Dot>{weight, a.row_bytes, a.k, x, rows};
                      });
}

}  // namespace mlx_native::cpu::MLXN_ISA
