// Dot products of weight rows with a few rows of x in integers.
//
// A row of weights is read in steps of a few blocks. Lane i of every vector of codes in a span of a step belongs to the
// same group, so that the products of a span add up to one vector of integers, which becomes floats once, times one
// vector of scales; nothing is summed over lanes before the row's end. Which codes lie where is up to word_lanes.h; x
// is put into that order once. It is rounded to one signed byte, two or three (word_products.h), with a scale for each
// 32 values.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/generic/at_once.h"
#include "cpu/generic/factors.h"
#include "cpu/generic/rounding.h"
#include "cpu/generic/word_products.h"
#include "cpu/simd/simd.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format, int Planes>
struct WordDot {
  using Block = typename Format::Block;
  using Lanes = typename LanesOf<Format>::Type;
  using Sum = WordSum<Format::kBits, Planes, Lanes::kVectors, Lanes::kInPlace>;
  static constexpr Precision kAccuracy = kAccuracyOfBytes<Planes>;
  static constexpr int kRowsAtOnce = Planes < 3 || kFolds ? 4 : 2;  // with more the rows of x leave no room in L1
  /// With more rows panels are faster; one row in two digits is Full's.
  static constexpr int kLeastRows = Planes == 2 ? 2 : 1;
  static constexpr bool kPanelsLose = Sum::kInPairs && Format::kBits <= (Planes == 1 ? 4 : 6);
  static constexpr int kMostRows = kPanelsLose ? 8 : Planes == 2 && !kFolds ? 2 : kRowsAtOnce;

  static constexpr bool kFits = kFolds;  // rows of x into L1, or nearly
  /// Where streams come to L2 alone (isa.h): parts of four rows of x that do not fit L1 are faster than panels, and two
  /// tiles where there is much of a row of weights to transpose, or where they share loads of x and this fits.
  static constexpr bool kPartsWin = !kFolds && Planes == 1;
  static constexpr bool kTilesWin = sizeof(Block) * 8 > 6 * Format::kValues;
  static constexpr bool kFittingTilesWin =
      kTilesWin || (Lanes::kSpans == 1 && (!Format::kHasOffset || Format::kBits > 4));

  static constexpr int kBlocks = Lanes::kBlocks, kSpans = Lanes::kSpans, kVectors = Lanes::kVectors;
  static constexpr int kOfHalf = kVectors / kHalves;
  static constexpr int kStep = kBlocks * Format::kValues, kScaled = 32;
  static constexpr int kGroups = kStep / Format::kGroup, kSums = kGroups < kLanes ? kLanes : kGroups;
  /// The largest magnitude of x as an integer, so that a lane's sum of products stays within 32 bits. With codes that
  /// stay shifted it may not (word_products.h).
  static constexpr int32_t kLargestCode = Format::kBias ? Format::kBias : (1 << Format::kBits) - 1;
  static constexpr int32_t kOfLane = 0x7fffffff / (4 * kVectors * kLargestCode) - 1;
  static constexpr int32_t kMost = Lanes::kInPlace || kOfLane > Sum::kMost ? Sum::kMost : kOfLane;
  static_assert(!Lanes::kInPlace || Format::kHasOffset);
  static constexpr bool kHasBias = !Format::kHasOffset && !Sum::kSignedCodes;

  /// kStep values of x.
  struct alignas(4 * kLanes) Step {
    Digits<Planes, kVectors> bytes[kSpans];
    float scale[kSpans][kLanes];
    union {
      int32_t bias[kSpans][kLanes];  // kHasBias: -kBias * the sum of what a lane has of x
      float sums[kSums];             // with offsets: of x as rounded, of groups or, where these are fewer, of lanes
    };
  };

  template <int M>
  struct X {
    const Step* steps[M];
  };
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = kStep;
  static constexpr uint64_t row_bytes(uint64_t k) { return steps_of(k) * sizeof(Step); }
  template <int M>
  static K_FN void set(X<M>& to, int m, const float*, uint64_t, const uint8_t* prepared) {
    to.steps[m] = reinterpret_cast<const Step*>(prepared);
  }

  /// The last step of a row may end in zeros.
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
    for (uint64_t s = begin; s < end; ++s) {
      Step& step = reinterpret_cast<Step*>(to)[s];
      if ((s + 1) * kStep <= k) {
        prepare(x + s * kStep, step);
      } else {
        float padded[kStep] = {};
        __builtin_memcpy(padded, x + s * kStep, (k - s * kStep) * sizeof(float));
        prepare(padded, step);
      }
    }
  }

  /// Of M rows of x. With 16 lanes a span is so short that each has two chains, of which one does not wait for the
  /// other.
  static constexpr int kChains = kFolds || MLXN_STREAMS > 1 || kSpans == 1 ? 1 : 2;
  template <int M>
  using Sums = Vec[M][kChains];
  static K_FN float total(const Vec (&sums)[kChains]) {
    return sum(kChains == 1 ? sums[0] : sums[0] + sums[kChains - 1]);
  }

  /// Weight rows that are read at once with so many rows of x: sums of all of them stay in registers. Where a step is
  /// one span, loads of x bound more rows than memory does: two weight rows share them.
  static constexpr bool kLoadsBound = !kFolds && kSpans == 1;
  static constexpr int streams(uint64_t m) {
    return MLXN_STREAMS > 1 ? (m > 1 ? 2 : MLXN_STREAMS) : kLoadsBound && m > (Planes == 3 ? 1 : 2) ? 2 : 1;
  }
  /// Less needs to be under way in each of several streams.
  static K_FN int64_t ahead_of(int at_once) { return MLXN_STREAMS == 1 || at_once == 1 ? kPrefetchDistance : 2048; }

  /// y[m] of weight rows from `row` on. Not inlined: its constants and sums fill the registers.
  template <int M, int R>
  static __attribute__((noinline)) void dots(const Block* row, uint64_t row_bytes, AtOnce rows, const X<M>& x,
                                             uint64_t k, float* const (&y)[M]) {
    const X<M> of_all = x;  // which no store of a sum can change
    for (uint64_t i = 0; i < rows.rows(); i += rows.step) {
      Sums<M> sums[R] = {};
      add_steps<M, R>(row, rows.apart * row_bytes, of_all, k, 0, steps_of(k), ahead_of(R), sums);
      MLXN_UNROLL
      for (int r = 0; r < R; ++r) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) y[m][i + r * rows.apart] = total(sums[r][m]);
      }
      row = blocks_of<Format>(reinterpret_cast<const uint8_t*>(row) + rows.step * row_bytes);
    }
  }

  static constexpr std::size_t kStepBytes = sizeof(Step);
  static constexpr uint64_t steps_of(uint64_t k) { return (k + kStep - 1) / kStep; }
  /// Where step i of a row begins, in bytes.
  static constexpr uint64_t place_of(uint64_t i) { return i * kBlocks * sizeof(Block); }

  /// Steps [first, end) of such dot products, whose sums are added to `sums`; asks for weights `ahead` bytes behind
  /// them.
  template <int M, int R>
  static __attribute__((noinline)) void add_part(const Block* row, uint64_t apart, const X<M>& x, uint64_t k,
                                                 uint64_t first, uint64_t end, int64_t ahead,
                                                 Sums<M>* const (&sums)[R]) {
    Sums<M> own[R];
    for (int r = 0; r < R; ++r) __builtin_memcpy(own[r], *sums[r], sizeof own[r]);
    add_steps<M, R>(row, apart, x, k, first, end, ahead, own);
    for (int r = 0; r < R; ++r) __builtin_memcpy(*sums[r], own[r], sizeof own[r]);
  }

 private:
  static void prepare(const float* x, Step& to) {
    alignas(64) int8_t bytes[Planes][kStep];
    float scales[kStep / kScaled];
    for (int i = 0; i < kStep; i += kScaled) {
      const Rounding rounding(largest(x + i, kScaled), float(kMost));
      scales[i / kScaled] = rounding.scale;
      for (int j = i; j < i + kScaled; j += kLanes)
        store_planes<Sum::kDigitBits>(bytes, j, to_nearest(load(x + j) * rounding.inverse));
    }
    for (int span = 0; span < kSpans; ++span) {
      for (int v = 0; v < kVectors; ++v)
        for (int lane = 0; lane < kLanes; ++lane)
          for (int p = 0; p < Planes; ++p)
            __builtin_memcpy(to.bytes[span][v][p] + 4 * lane, bytes[p] + Lanes::value_of(span, v, lane), 4);
      const UIntVec sums = sums_of_x(to.bytes[span]);
      for (int lane = 0; lane < kLanes; ++lane) {
        const int v = unfolded(lane).half * kOfHalf, value = Lanes::value_of(span, v, unfolded(lane).lane);
        const int group = value / Format::kGroup;
        const float scale = scales[value / kScaled];
        to.scale[span][lane] = scale / float(1 << Lanes::shift_of(span, v, unfolded(lane).lane));
        if constexpr (kHasBias) {
          to.bias[span][lane] = -Format::kBias * int32_t(sums[lane]);
        } else if constexpr (Format::kHasOffset) {
          const float sum = float(int32_t(sums[lane])) * scale;
          if constexpr (kGroups < kLanes) {
            to.sums[lane] = sum;
          } else {
            const bool again = !kFolds && lane > 0 && Lanes::value_of(span, 0, lane - 1) / Format::kGroup == group;
            to.sums[group] = again ? to.sums[group] + sum : sum;
          }
        }
      }
    }
  }

  static UIntVec sums_of_x(const Digits<Planes, kVectors>& x) {
    UIntVec ones[kOfHalf];
    for (UIntVec& v : ones) v = 0x01010101u + UIntVec{};
    using OfOnes = WordSum<1, Planes, kVectors, false>;
    static_assert(OfOnes::kDigitBits == Sum::kDigitBits);
    OfOnes sum;
    for (int half = 0; half < kHalves; ++half) sum.add(half, ones, x);
    return sum.total();
  }

  template <int M, int R>
  static K_FN void add_steps(const Block* row, uint64_t apart, const X<M>& x, uint64_t k, uint64_t first, uint64_t end,
                             int64_t ahead, Sums<M> (&total)[R]) {
    const uint64_t blocks = k / Format::kValues, whole = blocks / kBlocks;
    for (uint64_t s = first; s < (end < whole ? end : whole); ++s)
      add_of_rows<M, R>(row + s * kBlocks, kBlocks, apart, x, s, ahead, total);
    if (kBlocks > 1 && end > whole)
      add_of_rows<M, R>(row + whole * kBlocks, int(blocks % kBlocks), apart, x, whole, ahead, total);
  }

  template <int M, int R>
  static K_FN void add_of_rows(const Block* blocks, int count, uint64_t apart, const X<M>& x, uint64_t step,
                               int64_t ahead, Sums<M> (&total)[R]) {
    const auto row = [&](int r) { return blocks_of<Format>(reinterpret_cast<const uint8_t*>(blocks) + r * apart); };
    if constexpr (kShares<M, R>) {
      add<M, R>(row, count, x, step, ahead, total);
    } else {
      MLXN_UNROLL
      for (int r = 0; r < R; ++r) {
        add<M, 1>([&](int) { return row(r); }, count, x, step, ahead, reinterpret_cast<Sums<M>(&)[1]>(total[r]));
        // Else x is kept for the next row, in too few registers.
        if constexpr (R > 1 && kSpans > 1) asm volatile("" : : : "memory");
      }
    }
  }

  /// Whether weight rows that are read at once share loads of x.
  template <int M, int R>
  static constexpr bool kShares = R == 2 && M > 1 && kLoadsBound;

  /// Where a step has a span for each block, weights are asked for block by block: those of a step at once hold up its
  /// loads.
  static constexpr bool kAsksBySpan = MLXN_STREAMS == 1 && kBlocks > 1 && kSpans == kBlocks;

  /// Adds the products of `count` blocks of R rows with each row of x.
  template <int M, int R, class Rows>
  static K_FN void add(const Rows& row, int count, const X<M>& x, uint64_t step, int64_t ahead, Sums<M> (&total)[R]) {
    const Block* blocks[R];
    MLXN_UNROLL
    for (int r = 0; r < R; ++r) {
      blocks[r] = row(r);
      if constexpr (!kAsksBySpan) prefetch_ahead<kBlocks>(*blocks[r], ahead);
    }
    Block padded[R][kBlocks];
    if (Lanes::kWhole && count < kBlocks) {
      __builtin_memset(padded, 0, sizeof padded);
      for (int r = 0; r < R; ++r) {
        __builtin_memcpy(padded[r], blocks[r], count * sizeof(Block));
        blocks[r] = padded[r];
      }
    }
    const Factors<R> factors(blocks, count);
    if constexpr (Format::kHasOffset) {
      MLXN_UNROLL
      for (int t = 0; t < kSums / kLanes; ++t) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) {
          const Vec sums = load(x.steps[m][step].sums + t * kLanes);
          MLXN_UNROLL
          for (int r = 0; r < R; ++r)
            total[r][m][t % kChains] = fma(factors.of[r].offsets(t), sums, total[r][m][t % kChains]);
        }
      }
    }
    MLXN_UNROLL
    for (int span = 0; span < kSpans; ++span) {
      if (!Lanes::kWhole && span >= count) continue;
      if constexpr (kAsksBySpan) {
        MLXN_UNROLL
        for (int r = 0; r < R; ++r) prefetch_ahead(blocks[r][span], ahead);
        asm volatile("" : : : "memory");  // else all are asked for first
      }
      add_span<M, R>(blocks, span, factors, x, step, total);
    }
  }

  template <int R>
  struct Factors {
    typename Lanes::Factors of[R];
    K_FN Factors(const Block* const (&blocks)[1], int count) : of{{blocks[0], count}} {}
    K_FN Factors(const Block* const (&blocks)[2], int count) : of{{blocks[0], count}, {blocks[1], count}} {}
  };

  template <int M, int R>
  static K_FN void add_span(const Block* const (&blocks)[R], int span, const Factors<R>& factors, const X<M>& x,
                            uint64_t step, Sums<M> (&total)[R]) {
    Sum sum[R][M];
    if constexpr (kHasBias && !kFolds) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        const UIntVec bias = load_words(x.steps[m][step].bias[span]);
        MLXN_UNROLL
        for (int r = 0; r < R; ++r) sum[r][m] = Sum(bias);
      }
    }
    MLXN_UNROLL
    for (int half = 0; half < kHalves; ++half) {
      UIntVec codes[R][kOfHalf];
      MLXN_UNROLL
      for (int r = 0; r < R; ++r) {
        MLXN_UNROLL
        for (int v = 0; v < kOfHalf; ++v) codes[r][v] = Lanes::codes(blocks[r], span, half * kOfHalf + v);
      }
      if constexpr (R == 1) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) sum[0][m].add(half, codes[0], x.steps[m][step].bytes[span]);
      } else {
        add_shared<M, R>(codes, x, step, span, sum);
      }
    }
    Vec scales[R];
    MLXN_UNROLL
    for (int r = 0; r < R; ++r) scales[r] = factors.of[r].scale(span);
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      const Step& of_x = x.steps[m][step];
      const Vec of_span = load(of_x.scale[span]);
      MLXN_UNROLL
      for (int r = 0; r < R; ++r) {
        Vec sums;
        if constexpr (!Sum::kJoins) {
          sums = sum[r][m].float_total();
        } else {
          UIntVec exact = sum[r][m].total();
          if constexpr (kHasBias && kFolds) exact += load_words(of_x.bias[span]);
          sums = to_float(reinterpret_cast<IntVec>(exact));
        }
        total[r][m][span % kChains] = fma(sums, scales[r] * of_span, total[r][m][span % kChains]);
      }
    }
  }

  /// What is loaded of x is multiplied with all rows.
  template <int M, int R>
  static K_FN void add_shared(const UIntVec (&codes)[R][kOfHalf], const X<M>& x, uint64_t step, int span,
                              Sum (&sum)[R][M]) {
    MLXN_UNROLL
    for (int v = 0; v < kOfHalf; ++v) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        MLXN_UNROLL
        for (int p = 0; p < Planes; ++p) {
          auto of_x = load_words(x.steps[m][step].bytes[span][v][p]);
          keep(of_x);
          MLXN_UNROLL
          for (int r = 0; r < R; ++r) sum[r][m].add_digit(p, codes[r][v], of_x);
        }
      }
    }
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
