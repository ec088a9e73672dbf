// Dot products of a weight row with one row of x in integers, as exact as in floats.
//
// A block of x is rounded to 24 bits: x = scale * (65536 high + 256 middle + low) with signed bytes and one scale, so
// that the rounding is below 2^-23 of the block's largest magnitude. Codes (below 2^kBits), these bytes and the
// groups' integer scales multiply exactly; the three sums of a block become one float. x takes three bytes instead of
// four of L1. For Arm.
//
// With infinite or NaN values of x the result is NaN; values below 2^-100 of all else are lost with their block's
// largest below that.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/generic/factors.h"
#include "cpu/generic/rounding.h"
#include "cpu/simd/simd.h"

#include MLXN_BYTES_HEADER

namespace mlx_native::cpu::MLXN_ISA {

template <class Format>
concept HasByteDot = HasGroupBytes<Format> && requires {
  Format::kPairs;
};

template <class Format>
struct ByteDot {
  using Block = typename Format::Block;
  static constexpr int kRowsAtOnce = 1;  // more rows are cheaper in floats
  static constexpr int kValues = Format::kValues, kGroups = kValues / Format::kGroup;
  static_assert(Format::kBits <= 7 && (Format::kGroup == 32 || Format::kGroup == 16));

  /// Of a row of x: per block 3 * kValues bytes (high, middle, low); then the scales of the blocks; then the sums of
  /// the groups.
  template <int M>
  struct X {
    const int8_t* bytes;
    const float *scales, *sums;
  };

  static constexpr uint64_t kPiece = kValues;
  static constexpr bool kPrepares = true;
  static constexpr uint64_t scales_at(uint64_t k) { return 3 * k; }
  static constexpr uint64_t sums_at(uint64_t k) { return scales_at(k) + (k / kValues * sizeof(float) + 31) / 32 * 32; }
  static constexpr uint64_t row_bytes(uint64_t k) { return sums_at(k) + k / Format::kGroup * sizeof(float); }

  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
    for (uint64_t b = begin; b < end; ++b) {
      const float* const from = x + b * kValues;
      constexpr float kMost = 127 * 65536;  // rounding may add to it without a carry into bit 7 of the highest byte
      const Rounding rounding(largest(from, kValues), kMost);
      reinterpret_cast<float*>(to + scales_at(k))[b] = rounding.scale;
      int8_t* const bytes = reinterpret_cast<int8_t*>(to) + 3 * b * kValues;
      for (int i = 0; i < kValues; i += 32) {
        IntOct high[4], middle[4], low[4];
        MLXN_UNROLL
        for (int j = 0; j < 4; ++j) {
          const IntOct q = to_nearest(load_oct(from + i + 8 * j) * rounding.inverse);
          low[j] = q << 24 >> 24;
          const IntOct rest = (q - low[j]) >> 8;
          middle[j] = rest << 24 >> 24;
          high[j] = (rest - middle[j]) >> 8;
        }
        store_bytes(bytes + i, high);
        store_bytes(bytes + kValues + i, middle);
        store_bytes(bytes + 2 * kValues + i, low);
      }
      for (int group = 0; group < kGroups; ++group) {
        Oct sum = load_oct(from + group * Format::kGroup);
        for (int i = 8; i < Format::kGroup; i += 8) sum += load_oct(from + group * Format::kGroup + i);
        reinterpret_cast<float*>(to + sums_at(k))[b * kGroups + group] = sum_oct(sum);
      }
    }
  }
  template <int M>
  static K_FN void set(X<M>& to, int, const float*, uint64_t k, const uint8_t* prepared) {
    to = {reinterpret_cast<const int8_t*>(prepared), reinterpret_cast<const float*>(prepared + scales_at(k)),
          reinterpret_cast<const float*>(prepared + sums_at(k))};
  }

  template <int M>
  static K_FN void dot(const Block* row, const X<M>& x, uint64_t k, float (&out)[M]) {
    static_assert(M == 1);
    Oct total = {}, rest = {};
    for (uint64_t b = 0; b < k / kValues; ++b) {
      const Block& block = row[b];
      prefetch_ahead(block);
      const GroupBytes<kGroups> factors = Format::group_bytes(ScalarReader<Format::kAlign>{}, block);
      alignas(32) int32_t scales[kGroups];
      MLXN_UNROLL
      for (int i = 0; i < kGroups; i += 8) {
        const IntOct doubled = doubled_bytes(factors.scales[i / 4], factors.scales[i / 4 + 1]);
        __builtin_memcpy(scales + i, &doubled, sizeof doubled);
        const Oct of_sums = rest_of_groups(factors, i);
        if constexpr (kHasRest<Format>) rest = fma(of_sums, load_oct(x.sums + b * kGroups + i), rest);
      }
      const int8_t* const bytes = x.bytes + 3 * kValues * b;
      IntOct high = {}, middle = {}, low = {};
      MLXN_UNROLL
      for (int pair = 0; pair < kValues / 32; ++pair) {
        const Bytes32 codes = Format::codes(PairReader{}, block, 2 * pair);
        const IntOct scale = Format::kGroup == 32 ? scales[pair] - IntOct{} : two_lanes(scales, 2 * pair, 2 * pair + 1);
        high = add_products(high, codes, bytes + 32 * pair, scale);
        middle = add_products(middle, codes, bytes + kValues + 32 * pair, scale);
        low = add_products(low, codes, bytes + 2 * kValues + 32 * pair, scale);
      }
      const Oct upper = fma(to_oct(high), splat_oct(256.0f), to_oct(middle));
      const Oct sum = fma(upper, splat_oct(256.0f), to_oct(low));
      total = fma(splat_oct(factors.scale_unit * x.scales[b]), sum, total);
    }
    out[0] = sum_oct(total) + sum_oct(rest);
  }

 private:
  static K_FN Oct to_oct(IntOct v) { return __builtin_convertvector(v, Oct); }
  static K_FN Oct rest_of_groups(const GroupBytes<kGroups>& factors, int i) {
    const Oct offsets = signed_bytes(factors.offsets[i / 4], factors.offsets[i / 4 + 1]) * factors.offset_unit;
    if constexpr (Format::kBias == 0) return offsets;
    const Oct biases =
        signed_bytes(factors.scales[i / 4], factors.scales[i / 4 + 1]) * (factors.scale_unit * -float(Format::kBias));
    return Format::kHasOffset ? offsets + biases : biases;
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
