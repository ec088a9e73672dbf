// Dot products of weight rows with rows of x, in floats.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/factors.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// What a kernel of few rows needs of a way to multiply: room for each row of x, what is put there, and the product.
template <class Format>
struct FloatDot {
  using Block = typename Format::Block;
  static constexpr int kRowsAtOnce = 4;

  /// Rows of x, and the sums of their groups.
  template <int M>
  struct X {
    const float* x[M];
    const float* sums[M];
  };

  /// Values of x that are prepared together.
  static constexpr uint64_t kPiece = Format::kGroup;
  static constexpr bool kPrepares = kHasRest<Format>;
  static constexpr uint64_t row_bytes(uint64_t k) { return k / kPiece * sizeof(float); }

  /// Pieces [begin, end) of a row of x.
  static void prepare(const float* x, uint64_t, uint64_t begin, uint64_t end, uint8_t* to) {
    for (uint64_t g = begin; g < end; ++g) {
      Vec total = load(x + g * kPiece);
      for (uint64_t i = kLanes; i < kPiece; i += kLanes) total += load(x + g * kPiece + i);
      reinterpret_cast<float*>(to)[g] = sum(total);
    }
  }
  template <int M>
  static K_FN void set(X<M>& to, int m, const float* x, uint64_t, const uint8_t* prepared) {
    to.x[m] = x;
    to.sums[m] = reinterpret_cast<const float*>(prepared);
  }

  /// Sums of a weight row with M rows of x, in two chains, so that one does not wait for the other.
  template <int M>
  struct Sums {
    Vec total[2][M];
    RestSum<Format> rest[M];

    template <int FirstChain>
    K_FN void add_block(const Block& block, const X<M>& x, uint64_t b) {
      constexpr int kGroups = Format::kValues / Format::kGroup, kRuns = Format::kGroup / 16;
      prefetch_ahead(block);
      const Factors<Format> factors(block);
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) rest[m].add(factors, x.sums[m] + b * kGroups);
      MLXN_UNROLL
      for (int group = 0; group < kGroups; ++group) {
        Vec part[M];
        MLXN_UNROLL
        for (int run = 0; run < kRuns; ++run) {
          const Run codes = to_run(Format::codes(CodeReader{}, block, kRuns * group + run));
          MLXN_UNROLL
          for (int p = 0; p < kRunParts; ++p) {
            const uint64_t at = b * Format::kValues + Format::kGroup * group + 16 * run + kLanes * p;
            MLXN_UNROLL
            for (int m = 0; m < M; ++m) {
              const Vec v = load(x.x[m] + at);
              part[m] = run == 0 && p == 0 ? codes.part[p] * v : fma(codes.part[p], v, part[m]);
            }
          }
        }
        Vec(&chain)[M] = total[(FirstChain + group) % 2];
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) chain[m] = fma(splat(factors.scale[group]), part[m], chain[m]);
      }
    }
  };

  /// out[m] = the product of a weight row and row m of x.
  template <int M>
  static K_FN void dot(const Block* row, const X<M>& x, uint64_t k, float (&out)[M]) {
    Sums<M> sums;
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) sums.total[0][m] = sums.total[1][m] = Vec{};
    const uint64_t blocks = k / Format::kValues;
    uint64_t b = 0;
    for (; b + 2 <= blocks; b += 2) {
      sums.template add_block<0>(row[b], x, b);
      sums.template add_block<1>(row[b + 1], x, b + 1);
    }
    if (b < blocks) sums.template add_block<0>(row[b], x, b);
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) out[m] = sum(sums.total[0][m] + sums.total[1][m]) + sums.rest[m].total();
  }
};

/// The same for plain weights: nothing is prepared.
template <class Format>
struct PlainDot {
  using Block = typename Format::Block;
  static constexpr int kRowsAtOnce = 4;

  template <int M>
  struct X {
    const float* x[M];
  };

  static constexpr uint64_t kPiece = 1;
  static constexpr bool kPrepares = false;
  template <int M>
  static K_FN void set(X<M>& to, int m, const float* x, uint64_t, const uint8_t*) {
    to.x[m] = x;
  }

  template <int M>
  static K_FN void dot(const Block* row, const X<M>& x, uint64_t k, float (&out)[M]) {
    constexpr int kChains = 4;
    Vec total[kChains][M];
    MLXN_UNROLL
    for (int chain = 0; chain < kChains; ++chain) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) total[chain][m] = Vec{};
    }
    uint64_t i = 0;
    for (; i + kChains * kLanes <= k; i += kChains * kLanes) {
      prefetch_ahead<kChains * kLanes>(row[i]);
      MLXN_UNROLL
      for (int chain = 0; chain < kChains; ++chain) {
        const Vec w = load_plain<Format>(row + i + chain * kLanes);
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) total[chain][m] = fma(w, load(x.x[m] + i + chain * kLanes), total[chain][m]);
      }
    }
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      out[m] = sum((total[0][m] + total[1][m]) + (total[2][m] + total[3][m]));
      for (uint64_t j = i; j < k; ++j) out[m] += Format::value(row[j]) * x.x[m][j];
    }
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
