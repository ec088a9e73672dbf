// How dot_words.h multiplies codes below 2^Bits with a row of x: of a span's Vectors vectors of both a lane has a sum.
//
// A value of x is an integer in Planes signed digits, the highest first: q = sum over p of
// 2^(kDigitBits * (Planes - 1 - p)) * digit p, |q| <= kMost. Products and their sums are exact for every code and
// digit. Shifted: codes may be shifted to the left, and a lane's sum then not fit 32 bits.
#pragma once

#include "cpu/generic/word_lanes.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

template <int Planes, int Vectors>
using Digits = int8_t[Vectors][Planes][4 * kLanes];

K_FN UIntVec load_words(const void* p) {
  UIntVec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

/// Sums of two lanes each where lanes are folded (word_lanes.h).
inline constexpr int kHalves = kFolds ? 2 : 1;
K_FN UIntVec fold(const UIntVec (&halves)[kHalves]) {
#if MLXN_FOLDS
  return fold_ints(halves[0], halves[1]);
#else
  return halves[0];
#endif
}

#if MLXN_WIDE_DOT

/// The machine adds four products in 32 bits.
template <int Bits, int Planes, int Vectors, bool Shifted>
class WordSum {
  static constexpr int kOfHalf = Vectors / kHalves;

 public:
  static constexpr int kDigitBits = 8;
  static constexpr int32_t kMost = 127 << kDigitBits * (Planes - 1);
  static constexpr bool kInPairs = false, kSignedCodes = false;
  /// Whether all of a sum is one integer; else that of the lowest digits becomes a float by itself.
  static constexpr bool kJoins = !Shifted || int64_t{4 * Vectors * 255} * kMost <= 0x7fffffff;

  WordSum() = default;
  /// `start` is part of the first half's sums.
  K_FN explicit WordSum(UIntVec start) { part_[Planes - 1][0] = start; }

  /// The vectors of a half.
  K_FN void add(int half, const UIntVec (&codes)[kOfHalf], const Digits<Planes, Vectors>& x) {
    MLXN_UNROLL
    for (int v = 0; v < kOfHalf; ++v) {
      MLXN_UNROLL
      for (int p = 0; p < Planes; ++p)
        part_[p][half] = dot4(part_[p][half], codes[v], load_words(x[half * kOfHalf + v][p]));
    }
  }
  /// A vector of the only half with digits p.
  K_FN void add_digit(int p, UIntVec codes, UIntVec digits) { part_[p][0] = dot4(part_[p][0], codes, digits); }
  /// The sums, modulo 2^32.
  K_FN UIntVec total() { return joined(Planes - 1); }
  /// The sums where they do not join.
  K_FN Vec float_total() {
    const Vec low = to_float(reinterpret_cast<IntVec>(fold(part_[Planes - 1])));
    return fma(to_float(reinterpret_cast<IntVec>(joined(Planes - 2))), splat(float(1 << kDigitBits)), low);
  }

 private:
  K_FN UIntVec joined(int last) {
    MLXN_UNROLL
    for (int p = 1; p <= last; ++p) {
      MLXN_UNROLL
      for (int half = 0; half < kHalves; ++half) part_[p][half] += part_[p - 1][half] << kDigitBits;
    }
    return fold(part_[last]);
  }

  UIntVec part_[Planes][kHalves] = {};
};

#else

/// The machine adds two products in 16 bits, with saturation, and two of these sums in 32, times a number below 2^15.
/// Digits are so small that some sums can be added before.
template <int Bits, int Planes, int Vectors, bool /*Shifted: nowhere*/>
class WordSum {
  static constexpr int kOfHalf = Vectors / kHalves;

 public:
  static constexpr int kDigitBits = Planes == 2 && Bits < 8 ? 8 : 7;
  /// Magnitudes of digits.
  static constexpr int32_t kFirst = Bits > 7 && Planes > 1 ? 64 : 127, kOther = 1 << (kDigitBits - 1);
  static constexpr int32_t kMost = kFirst << kDigitBits * (Planes - 1);
  /// Codes of 8 bits are multiplied less 2^7 by digits of 8 bits.
  static constexpr bool kInPairs = true, kSignedCodes = Bits > 7 && Planes == 1, kJoins = true;

  K_FN void add(int half, const UIntVec (&codes)[kOfHalf], const Digits<Planes, Vectors>& x) {
    MLXN_UNROLL
    for (int p = 0; p < Planes; ++p) {
      UIntVec pairs = {};
      MLXN_UNROLL
      for (int v = 0; v < kOfHalf; ++v) {
        const UIntVec two = pairs_of_codes(codes[v], load_words(x[half * kOfHalf + v][p]));
        pairs = v % chain(p) ? add_pairs(pairs, two) : two;
        complete(pairs);
        if (!folds_pairs(p) && ((v + 1) % chain(p) == 0 || v + 1 == kOfHalf)) {
          ints_[half] += widen(pairs, p);
          if (chain(p) < kOfHalf) complete(ints_[half]);
        }
      }
      if (folds_pairs(p)) pairs_[p][half] = pairs;
    }
  }
  K_FN UIntVec total() {
    UIntVec sum = fold(ints_);
    MLXN_UNROLL
    for (int p = 0; p < Planes; ++p)
      if (folds_pairs(p)) sum += widen(fold_pairs(pairs_[p][0], pairs_[p][1]), p);
    return sum;
  }

 private:
  /// How many sums of two products fit 16 bits.
  static constexpr int chain(int p) {
    return kSignedCodes ? 1 : 0x7fff / (2 * (p == 0 ? kFirst : kOther) * ((1 << Bits) - 1));
  }
  static_assert(chain(0) > 0);
  static constexpr bool folds_pairs(int p) { return kFolds && chain(p) >= Vectors; }
  static K_FN UIntVec pairs_of_codes(UIntVec codes, UIntVec x) {
    return kSignedCodes ? signed_pairs(codes ^ 0x80808080u, x) : pairs_of(codes, x);
  }
  static K_FN UIntVec widen(UIntVec pairs, int p) { return widen_pairs(pairs, 1 << kDigitBits * (Planes - 1 - p)); }

  UIntVec pairs_[Planes][kHalves] = {}, ints_[kHalves] = {};
};

#endif

}  // namespace mlx_native::cpu::MLXN_ISA
