// Dot products of weight rows with a few rows of x in integers, for machines that multiply four bytes with four at
// once.
//
// Codes stay in the order in which a row has them. A vector holds 4 * kLanes of them: of one block where blocks are
// long, else the same run of kLanes / 4 blocks. x is rounded as in byte_tile.h, to one byte or to three.
#pragma once

#include "cpu/generic/dequantize.h"
#include "cpu/generic/factors.h"
#include "cpu/generic/rounding.h"
#include "cpu/simd/simd.h"
#include MLXN_BYTES_HEADER
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Makes the codes of the same run of several blocks.
struct StrideReader {
  uint64_t stride;  // bytes from a block to the next

  K_FN UIntVec load(const uint8_t* run) const { return load_runs(run, stride); }
  K_FN UIntVec bits16(const uint16_t* p) const {
    uint32_t bits[kLanes / 4];
    for (int i = 0; i < kLanes / 4; ++i) {
      uint16_t of_block;
      __builtin_memcpy(&of_block, reinterpret_cast<const uint8_t*>(p) + i * stride, sizeof of_block);
      bits[i] = of_block;
    }
    UIntVec v;
    for (int i = 0; i < kLanes; ++i) v[i] = bits[i / 4] >> (4 * (i % 4)) & 15u;
    return v;
  }
  K_FN UIntVec spread(UIntVec nibbles) const { return (nibbles * 0x00204081u) & 0x01010101u; }
  template <class Table>
  K_FN UIntVec lookup(const Table& table, UIntVec indices) const {
    return lookup_runs(table, indices);
  }
};

template <int Count>
struct FloatsOf;
template <>
struct FloatsOf<4> {
  using Type = Quad;
};
template <>
struct FloatsOf<8> {
  using Type = Oct;
};
template <>
struct FloatsOf<16> {
  using Type = float __attribute__((vector_size(64)));
};

template <class Format, int Planes>
struct WordDot {
  using Block = typename Format::Block;
  static constexpr Precision kAccuracy = Planes == 1 ? Precision::Int8 : Precision::Full;
  static constexpr int kRowsAtOnce = 2;  // with more the rows of x leave no room in L1

  static constexpr int kCodes = 4 * kLanes;  // of a vector
  static constexpr int kBlocks = Format::kValues >= kCodes ? 1 : kLanes / 4;
  static constexpr int kStep = kBlocks * Format::kValues, kVectors = kStep / kCodes;
  static constexpr int kGroups = kStep / Format::kGroup;
  static constexpr int kScaled = Planes == 1 ? 32 : kStep;  // values of x of one scale
  /// The largest magnitude of x as an integer, so that a lane's sum of four products stays within 32 bits.
  static constexpr int32_t kOfLane = 0x7fffffff / (4 * ((1 << Format::kBits) - 1)) - 1;
  static constexpr int32_t kMost = Planes == 1 ? 127 : kOfLane < 127 << 16 ? kOfLane : 127 << 16;

  using Groups = typename FloatsOf<kGroups>::Type;

  /// kStep values of x, in the order of the codes; the last step of a row may end in zeros.
  struct alignas(64) Step {
    int8_t bytes[kVectors][Planes][kCodes];
    float scale[kGroups], sums[kGroups];  // of each group; the sums are of x as rounded
  };

  template <int M>
  struct X {
    const Step* steps[M];
  };
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = kStep;
  static constexpr uint64_t row_bytes(uint64_t k) { return (k + kStep - 1) / kStep * sizeof(Step); }
  template <int M>
  static K_FN void set(X<M>& to, int m, const float*, uint64_t, const uint8_t* prepared) {
    to.steps[m] = reinterpret_cast<const Step*>(prepared);
  }

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

  template <int M>
  static K_FN void dot(const Block* row, const X<M>& x, uint64_t k, float (&out)[M]) {
    Sums sums[M] = {};
    const uint64_t steps = k / kStep;
    for (uint64_t s = 0; s < steps; ++s) {
      prefetch_ahead<kBlocks>(row[s * kBlocks]);
      add(row + s * kBlocks, x, s, sums);
    }
    if (const uint64_t left = k % kStep / Format::kValues; kBlocks > 1 && left > 0) {
      Block padded[kBlocks];
      __builtin_memset(padded, 0, sizeof padded);
      __builtin_memcpy(padded, row + steps * kBlocks, left * sizeof(Block));
      add(padded, x, steps, sums);
    }
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      out[m] = sum(sums[m].total[0] + sums[m].total[1]);
      if constexpr (kHasRest<Format>) {
        float rest = 0;
        for (int g = 0; g < kGroups; ++g) rest += sums[m].rest[g];
        out[m] += rest;
      }
    }
  }

 private:
  /// In two chains, so that one does not wait for the other.
  struct Sums {
    Vec total[2];
    Groups rest;
  };

  static void prepare(const float* x, Step& to) {
    for (int start = 0; start < kStep; start += kScaled) {
      const Rounding rounding(largest(x + start, kScaled), float(kMost));
      for (int at = start; at < start + kScaled; at += Format::kGroup) {
        IntVec sums = {};
        for (int j = at; j < at + Format::kGroup; j += kLanes) {
          const IntVec q = to_nearest(load(x + j) * rounding.inverse);
          sums += q;
          const int block = j / Format::kValues, run = j % Format::kValues / 16;
          const int vector = kBlocks == 1 ? j / kCodes : run;
          const int place = kBlocks == 1 ? j % kCodes : 16 * block + j % 16;
          store_planes(to.bytes[vector], place, q);
        }
        to.scale[at / Format::kGroup] = rounding.scale;
        to.sums[at / Format::kGroup] = float(sum_lanes(sums)) * rounding.scale;
      }
    }
  }

  static K_FN UIntVec codes(const Block* block, int vector) {
    if constexpr (kBlocks > 1)
      return Format::codes(StrideReader{sizeof(Block)}, *block, vector);
    else
      return join_pairs(Format::codes(PairReader{}, *block, 4 * vector),
                        Format::codes(PairReader{}, *block, 4 * vector + 2));
  }

  /// What was stored in eights is read in eights: a longer load would wait for the stores.
  static K_FN Groups groups_at(const float* p) {
    if constexpr (kGroups == 16) {
      return __builtin_shufflevector(load_oct(p), load_oct(p + 8), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                                     15);
    } else {
      Groups v;
      __builtin_memcpy(&v, p, sizeof v);
      return v;
    }
  }
  struct GroupFactors {
    Groups scale, rest;
  };
  static K_FN GroupFactors factors(const Block* block) {
    GroupFactors f;
    if constexpr (kBlocks > 1) {
      for (int i = 0; i < kBlocks; ++i) f.scale[i] = Format::affine(block[i], 0).scale;
      f.rest = f.scale * -float(Format::kBias);
    } else {
      const Factors<Format> both(*block);
      f.scale = groups_at(both.scale);
      f.rest = groups_at(both.rest);
    }
    return f;
  }

  template <int M>
  static K_FN void add(const Block* block, const X<M>& x, uint64_t step, Sums (&to)[M]) {
    const GroupFactors f = factors(block);
    Vec total[M][2];
    Groups scale[M];
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      const Step& of_x = x.steps[m][step];
      if constexpr (kHasRest<Format>) {
        Groups sums;
        __builtin_memcpy(&sums, of_x.sums, sizeof sums);
        to[m].rest += f.rest * sums;
      }
      if constexpr (Planes == 1) {
        __builtin_memcpy(&scale[m], of_x.scale, sizeof scale[m]);
        scale[m] *= f.scale;
        total[m][0] = to[m].total[0], total[m][1] = to[m].total[1];
      } else {
        total[m][0] = total[m][1] = Vec{};
      }
    }
    MLXN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const UIntVec code = codes(block, v);
      IntVec group;
      for (int lane = 0; lane < kLanes; ++lane)
        group[lane] = kBlocks > 1 ? lane / 4 : (v * kCodes + 4 * lane) / Format::kGroup;
      const Vec of_weights = pick(f.scale, group);
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        UIntVec part = {};
        MLXN_UNROLL
        for (int p = 0; p < Planes; ++p) {
          UIntVec xv;
          __builtin_memcpy(&xv, x.steps[m][step].bytes[v][p], sizeof xv);
          part = dot4(p ? part << 8 : part, code, xv);
        }
        const Vec scales = Planes == 1 ? pick(scale[m], group) : of_weights;
        total[m][v % 2] = fma(to_float(reinterpret_cast<IntVec>(part)), scales, total[m][v % 2]);
      }
    }
    MLXN_UNROLL
    for (int m = 0; m < M; ++m)
      for (int i = 0; i < 2; ++i)
        to[m].total[i] = Planes == 1 ? total[m][i] : fma(total[m][i], splat(x.steps[m][step].scale[0]), to[m].total[i]);
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
