// Products with few rows of x: each weight is read from memory once, and decoded once for up to Dot::kRowsAtOnce rows.
#pragma once

#include "args/matmul.h"
#include "cpu/generic/at_once.h"
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

/// Asks for lines of each page of weights long before the others: translations then are known, or foreseen for the
/// constant stride, when the page's lines are asked for. Loads instead of prefetches stop everything where they are not
/// foreseen. From page to page it is the next line, for lines a page apart share one set of the L1 (q4_K: 15 GB/s
/// instead of 29). Three instructions ask, for what a processor foresees of one hangs on the place of its code: with
/// one, a product in six reads half as fast.
struct PagesAhead {
  static constexpr uint64_t kStride = 4096 + 64, kDistance = 16 * kStride;
  const uint8_t* next = nullptr;

  /// Of weights that are read from `at` on, and go on as far as `end`.
  K_FN void of(const uint8_t* at, const uint8_t* end) {
    if (next < at || next > at + kDistance + kStride) next = at;  // this is not where the last call ended
    for (; next < end && next < at + kDistance; next += kStride) {
      __builtin_prefetch(next);
      __builtin_prefetch(next + kStride / 3);
      __builtin_prefetch(next + kStride / 3 * 2);
    }
  }
};

/// Whether so many rows of x, as they are prepared, leave enough of L1 for weights.
template <class Dot>
K_FN bool fits_l1(uint64_t rows, uint64_t k) {
  return rows * Prepared<Dot>::stride(k) <= 32 << 10;
}
/// Up to so many rows of x, of which there are m, such products are faster than panels.
template <class Dot>
K_FN uint64_t most_rows(uint64_t m, uint64_t k) {
  if (Dot::kPartsWin && streams_into_l2) {
    const bool fits = fits_l1<Dot>(Dot::kRowsAtOnce, k);
    return (fits ? Dot::kFittingTilesWin : Dot::kTilesWin) ? 2 * Dot::kRowsAtOnce : Dot::kMostRows;
  }
  return Dot::kFits || fits_l1<Dot>(m, k) ? Dot::kMostRows : Dot::kMostRows / 2;
}
/// Weight rows that share a part of x where it does not.
inline constexpr uint64_t kRowsInParts = 64;

/// A product whose rows of x and y are chosen by `rows`.
template <class Format, class Dot>
struct MatVecJob {
  const uint8_t* weight;
  uint64_t row_bytes;
  uint32_t k;
  Prepared<Dot> prepared;
  RowMap rows;
  PagesAhead* pages;

  template <int M>
  K_FN typename Dot::template X<M> x_of(uint64_t first) const {
    typename Dot::template X<M> x;
    for (int m = 0; m < M; ++m)
      Dot::set(x, m, rows.x(first + m), k, prepared.memory + rows.x_row(first + m) * prepared.stride(k));
    return x;
  }
  K_FN const typename Format::Block* weights(uint64_t column) const {
    return blocks_of<Format>(weight + column * row_bytes);
  }

  /// body<M>(first) for rows of x from `row` to `end`, as many at once as can be.
  template <class Body>
  static K_FN void in_tiles(uint64_t row, uint64_t end, const Body& body) {
    if constexpr (Dot::kRowsAtOnce >= 4)
      for (; row + 4 <= end; row += 4) body.template operator()<4>(row);
    if constexpr (Dot::kRowsAtOnce >= 4)
      for (; row + 3 <= end; row += 3) body.template operator()<3>(row);
    if constexpr (Dot::kRowsAtOnce >= 2)
      for (; row + 2 <= end; row += 2) body.template operator()<2>(row);
    for (; row < end; ++row) body.template operator()<1>(row);
  }

  void run(Range columns) const {
    if constexpr (kInSteps) {
      constexpr int kOfOne = Dot::streams(1), kOfTwo = Dot::streams(2), kOfMore = Dot::streams(3);
      if (kOfOne != kOfTwo && rows.count == 1)
        run_streams<kOfOne>(columns);
      else if (kOfTwo != kOfMore && rows.count <= 2)
        run_streams<kOfTwo>(columns);
      else
        run_streams<kOfMore>(columns);
    } else {
      run_rows<1>(columns);
    }
  }

 private:
  K_FN uint64_t rows_at_once() const { return rows.count < Dot::kRowsAtOnce ? rows.count : Dot::kRowsAtOnce; }
  K_FN void touch(uint64_t column) const {
    // With more rows of x memory waits for arithmetic, unless what is asked for comes to L2 alone.
    constexpr uint64_t kMostRows = MLXN_STREAMS > 1 ? 0 : 2;
    if (rows.count <= kMostRows || streams_into_l2) pages->of(weight + column * row_bytes, weight + rows.n * row_bytes);
  }

  /// Whether Dot knows parts of dot products, and of several weight rows at once.
  static constexpr bool kInSteps = requires { Dot::kStepBytes; };

  template <int R>
  void run_streams(Range columns) const {
    if (!fits_l1<Dot>(rows_at_once(), k)) return run_in_parts<R>(columns);
    const uint64_t whole = columns.begin + (columns.end - columns.begin) / R * R;
    run_rows<R>({columns.begin, whole});
    if constexpr (R > 1) run_rows<1>({whole, columns.end});
  }

  /// Weight rows of a call of dots(), or times R of them: enough that what it begins with, which takes as long as 300
  /// codes, is little. Several tiles of rows of x want them in L1, or enough of them that x comes seldom from L2.
  K_FN uint64_t rows_of_call() const {
    if (rows.count > Dot::kRowsAtOnce && !streams_into_l2) return 1;
    const uint64_t bytes = (rows.count > Dot::kRowsAtOnce ? 32 : 16) << 10;
    return row_bytes > bytes ? 1 : bytes / row_bytes;
  }

  template <int R>
  void run_rows(Range columns) const {
    const AtOnce all = AtOnce::of<R>(columns.end - columns.begin);
    const uint64_t most = kInSteps ? rows_of_call() : 1;
    uint64_t column = columns.begin;
    for (uint64_t left = all.count; left > 0;) {
      const uint64_t count = most < left ? most : left;
      touch(column);
      in_tiles(0, rows.count, [&]<int M>(uint64_t first) {
        float* y[M];
        for (int m = 0; m < M; ++m) y[m] = rows.y(first + m) + column;
        if constexpr (kInSteps) {
          Dot::template dots<M, R>(weights(column), row_bytes, {count, all.apart, all.step}, x_of<M>(first), k, y);
        } else {
          float out[M];
          Dot::template dot<M>(weights(column), x_of<M>(first), k, out);
          for (int m = 0; m < M; ++m) *y[m] = out[m];
        }
      });
      column += count * all.step;
      left -= count;
    }
  }

  /// Some weight rows with a part of k of some rows of x, then with the next part, so that x stays in L1.
  template <int R>
  void run_in_parts(Range columns) const {
    constexpr uint64_t kGroup = kRowsInParts, kPartBytes = 24 << 10;
    using Sums = typename Dot::template Sums<Dot::kRowsAtOnce>;
    const uint64_t steps = Dot::steps_of(k);
    const uint64_t parts = (rows_at_once() * steps * Dot::kStepBytes + kPartBytes - 1) / kPartBytes;
    const uint64_t of_part = (steps + parts - 1) / parts, bytes = Dot::place_of(of_part);
    // The weights that come after so many parts of rows are asked for.
    const int64_t later = (Dot::ahead_of(R) + bytes - 1) / bytes, stride = row_bytes;
    for (uint64_t group = columns.begin; group < columns.end; group += kGroup) {
      const uint64_t end = group + kGroup < columns.end ? group + kGroup : columns.end;
      const AtOnce all = AtOnce::of<R>(end - group);
      const uint64_t of_stream = all.rows();
      if constexpr (R > 1) {
        if (all.count * R < end - group) {
          run_in_parts<1>({group, end});
          continue;
        }
      }
      for (uint64_t row = 0; row < rows.count; row += Dot::kRowsAtOnce) {
        const uint64_t row_end = row + Dot::kRowsAtOnce < rows.count ? row + Dot::kRowsAtOnce : rows.count;
        Sums sums[kGroup];
        __builtin_memset(sums, 0, (end - group) * sizeof(Sums));
        for (uint64_t step = 0; step < steps; step += of_part) {
          const uint64_t step_end = step + of_part < steps ? step + of_part : steps;
          const int64_t behind_last = step_end < steps
                                          ? int64_t(bytes) - int64_t(of_stream) * stride
                                          : int64_t(end - group - of_stream) * stride - int64_t(Dot::place_of(step));
          for (uint64_t column = group; column < group + of_stream; column += all.step) {
            if (row == 0 && step == 0) touch(column);
            const int64_t ahead = later * stride + (column + later < group + of_stream ? 0 : behind_last);
            in_tiles(row, row_end, [&]<int M>(uint64_t first) {
              typename Dot::template Sums<M>* to[R];
              for (uint64_t r = 0; r < R; ++r)
                to[r] = reinterpret_cast<typename Dot::template Sums<M>*>(
                    &sums[column - group + r * all.apart][first - row]);
              Dot::template add_part<M, R>(weights(column), all.apart * row_bytes, x_of<M>(first), k, step, step_end,
                                           ahead, to);
            });
          }
        }
        for (uint64_t i = row; i < row_end; ++i)
          for (uint64_t column = group; column < end; ++column)
            rows.y(i)[column] = Dot::total(sums[column - group][i - row]);
      }
    }
  }
};

/// Weight rows that a worker takes at a time: few enough to even out the workers, enough bytes that one who helps
/// another reads a stream, and enough to share parts of x. `n`: of all products of the loop.
template <class Dot>
Pieces pieces_of_rows(uint64_t n, uint64_t row_bytes, uint64_t m, uint64_t k, const Team& team) {
  constexpr uint64_t kStream = 256 << 10;
  uint64_t rows = kStream / row_bytes;
  if (!fits_l1<Dot>(m, k) && rows < kRowsInParts) rows = kRowsInParts;
  const uint64_t even = n / (16 * team.count());
  if (rows > even) rows = even;
  return {rows ? rows : 1};
}

/// So little to prepare that every worker rather makes all of it in its own memory than waits for the others.
template <class Dot>
K_FN bool is_small(uint64_t rows, uint64_t k) {
  return rows * k <= 32768 && Prepared<Dot>::bytes(rows, k) <= Team::kLocalBytes;
}

template <class Dot>
Prepared<Dot> prepare_few(const MatmulArgs& a, Team& team) {
  const bool small = is_small<Dot>(a.m, a.k);
  const Prepared<Dot> prepared{small ? reinterpret_cast<uint8_t*>(team.local()) : a.scratch};
  if (small) {
    prepared.make(a.input, a.k, {0, a.m * prepared.pieces(a.k)});
  } else {
    prepared.make(a.input, a.m, a.k, team);
    if constexpr (Dot::kPrepares) team.barrier();
  }
  return prepared;
}

/// What prepare_few wants.
template <class Dot>
std::size_t few_scratch(const MatmulArgs& a) {
  return is_small<Dot>(a.m, a.k) ? 0 : Prepared<Dot>::bytes(a.m, a.k);
}

template <class Format, class Dot>
void mat_vec(const MatmulArgs& a, Team& team) {
  const Prepared<Dot> prepared = prepare_few<Dot>(a, team);
  const RowMap rows{a.input, a.output, nullptr, a.m, 1, a.k, a.n};
  PagesAhead pages;
  const MatVecJob<Format, Dot> job{a.weight, a.row_bytes, a.k, prepared, rows, &pages};
  const Pieces pieces = pieces_of_rows<Dot>(a.n, a.row_bytes, a.m, a.k, team);
  team.share(a.n, pieces, [&](Range columns) { job.run(columns); });
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
  const uint64_t n = products_of(a) * a.n;
  PagesAhead pages;
  routed_product<Dot>(a, team, pieces_of_rows<Dot>(n, a.row_bytes, 1, a.k, team), is_small_routed<Dot>(a),
                      [&](const uint8_t* weight, const Prepared<Dot>& x, const RowMap& rows) {
                        return MatVecJob<Format, Dot>{weight, a.row_bytes, a.k, x, rows, &pages};
                      });
}

}  // namespace mlx_native::cpu::MLXN_ISA
