// Products of few rows in integers: 16 rows of 256 quantized weights in shared memory, a unit, times up to 4 rows of x.
//
// Weights are multiplied as the integers that their codes are. Activations are rounded to 23 bits of the largest of a
// unit, and such a number is three digits, signed bytes: its planes. Rows of x times planes are the columns of the
// tensor cores' products, which are exact; so is the sum over groups whose scales are integers. What is left of the
// scales is applied in f32. Column p R + r of R rows (padded) is plane p of row r.
//
// The values of a product's inner dimension may be taken in any order, as long as both operands agree: lane t of four
// takes word t of each run of 16 codes, as Format::codes() makes it.
#pragma once

#include "cuda/vec/units.cuh"

namespace mlx_native::cuda {

constexpr int kPlanes = 3;

/// Products of A, 16 rows of bytes, and B, 8 columns of signed bytes, onto c. With g = lane / 4 and t = lane % 4:
///   a: rows g, g + 8; 4 t to 4 t + 3 of 16 bytes, then the same of the next 16
///   b: column g; likewise
///   d[0], d[1]: row g, columns 2 t, 2 t + 1;   d[2], d[3]: row g + 8
template <bool kSigned>
__device__ __forceinline__ void multiply_32(int (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                                            std::uint32_t a3, std::uint32_t b0, std::uint32_t b1, int2 c) {
  if constexpr (kSigned)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%10,%11};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(c.x), "r"(c.y));
  else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%10,%11};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(c.x), "r"(c.y));
}
template <bool kSigned>
__device__ __forceinline__ void multiply_16(int (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t b, int2 c) {
  if constexpr (kSigned)
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%7,%8};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a0), "r"(a1), "r"(b), "r"(c.x), "r"(c.y));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%7,%8};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a0), "r"(a1), "r"(b), "r"(c.x), "r"(c.y));
}
/// Onto d itself.
template <bool kSigned>
__device__ __forceinline__ void multiply_onto(int (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                                              std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
  if constexpr (kSigned)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
/// What a lane reads of the activations of a unit: its T columns, the unit's sums, and the factors of the columns whose
/// sums it holds.
template <int T>
struct DigitColumns {
  const std::uint8_t* at[T];
  const std::uint8_t* sums;
  float2 factor[T];
  static constexpr int columns = T <= 2 ? 6 * T : 8 * T;
};

/// A float whose last bit is 1: an integer below 2^22 is the difference of its bits and of those of a sum with it.
constexpr float kMagic = 0x1.8p23f;
constexpr int kMagicBits = 0x4b400000;

/// What the kernel knows of a format: of a unit of kValues, kRowBytes of a row, kXBytes of a column of x, kSumBytes of
/// a column of sums. kAligned: kRowBytes is a multiple of 16, as the weights' address must be.
///   add(rows, x, g, t, sums): sums += rows times columns
template <class Format>
struct DigitUnit {
  static constexpr bool kSmallFactors = HasSmallFactors<Format>;
  static constexpr int kValues = 256, kGroup = Format::kGroup, kGroups = kValues / kGroup, kXBytes = kValues;
  static constexpr int kRowBytes = kUnitRowBytes<Format>;
  static constexpr bool kAligned = kRowBytes % 16 == 0;
  static constexpr bool kSigned = Format::kBias == 128;  // codes without their top bit's change are what is meant
  static constexpr int kBias = kSigned || Folds<Format> ? 0 : Format::kBias;
  // Sums of a group of a column: what its products begin with, or 16 halfs that the offsets are multiplied by.
  static constexpr int kSumBytes = Format::kHasOffset ? 32 : kBias != 0 ? 4 * kGroups : 0;
  static_assert(kGroup == 32 || kGroup == 16);
  static_assert(kSmallFactors || (kGroup == 32 && Format::kValues == 32));
  static_assert(!Format::kHasOffset || kBias == 0);

  static __device__ __forceinline__ std::uint32_t codes(const Rows& rows, int r, int t, int run) {
    const std::uint32_t word = unit_codes<Format>(rows, r, t, run);
    return kSigned ? word ^ 0x80808080u : word;
  }

  /// What products of group `group` with columns 2 t and 2 t + 1 of product `c` begin with.
  template <int T>
  static __device__ __forceinline__ int2 start(const DigitColumns<T>& x, int t, int c, int group) {
    constexpr int kStart = kSmallFactors ? 0 : kMagicBits;
    if constexpr (kBias == 0) return make_int2(kStart, kStart);
    return *reinterpret_cast<const int2*>(x.sums + 4 * (x.columns * group + 8 * c + 2 * t));
  }

  template <int T>
  static __device__ __forceinline__ void add(const Rows& rows, const DigitColumns<T>& x, int g, int t, Sums<T>& sums) {
    if constexpr (kSmallFactors)
      add_small<T>(rows, x, g, t, sums);
    else
      add_scaled<T>(rows, x, g, t, sums);
  }

  /// sums += offsets times the sums of groups.
  template <int T>
  static __device__ __forceinline__ void add_offsets(const std::uint32_t (&offsets)[4], const DigitColumns<T>& x, int g,
                                                     int t, Sums<T>& sums) {
#pragma unroll
    for (int c = 0; c < T; ++c) {
      const std::uint8_t* const at = x.sums + 32 * (8 * c + g) + 4 * t;
      multiply_tile<false>(sums[c], offsets, load4(at), load4(at + 16));
    }
  }

  /// A scale a group, any f16.
  template <int T>
  static __device__ __forceinline__ void add_scaled(const Rows& rows, const DigitColumns<T>& x, int g, int t,
                                                    Sums<T>& sums) {
    Sums<T> unit = {};
    if constexpr (Format::kHasOffset) {
      std::uint32_t offsets[4];
      offset_halfs<Format>(rows, t, offsets);
      add_offsets<T>(offsets, x, g, t, unit);
    }
#pragma unroll
    for (int pair = 0; pair < kGroups / 2; ++pair) {
      std::uint32_t a[2][4];
#pragma unroll
      for (int i = 0; i < 8; ++i) a[i / 4][i % 4] = codes(rows, i / 4, t, 4 * pair + i % 4);
      float scale[2][2];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        scale[i / 2][i % 2] = half_to_float(block_of<Format>(rows.at[i / 2], 2 * pair + i % 2).d);
#pragma unroll
      for (int c = 0; c < T; ++c) {
        const uint4 b = load16(x.at[c] + 64 * pair + 16 * t);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          int products[4];
          multiply_32<kSigned>(products, a[0][2 * j], a[1][2 * j], a[0][2 * j + 1], a[1][2 * j + 1], word_of(b, 2 * j),
                               word_of(b, 2 * j + 1), start<T>(x, t, c, 2 * pair + j));
#pragma unroll
          for (int i = 0; i < 4; ++i)
            unit[c][i] = fmaf(scale[i / 2][j], __int_as_float(products[i]) - kMagic, unit[c][i]);
        }
      }
    }
#pragma unroll
    for (int c = 0; c < T; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[c][i] = fmaf(i % 2 ? x.factor[c].y : x.factor[c].x, unit[c][i], sums[c][i]);
  }

  /// A block is a unit; scales and offsets are small integers.
  template <int T>
  static __device__ __forceinline__ void add_small(const Rows& rows, const DigitColumns<T>& x, int g, int t,
                                                   Sums<T>& sums) {
    const GroupBytes<kGroups> factors[2] = {small_factors<Format>(rows.at[0]), small_factors<Format>(rows.at[1])};
    int unit[T][4] = {};
#pragma unroll
    for (int four = 0; four < 4; ++four) {
      if constexpr (Folds<Format>)
        add_folded<T>(rows, factors, x, t, four, unit);
      else
        add_groups<T>(rows, factors, x, t, four, unit);
    }
    Sums<T> offsets = {};
    if constexpr (Format::kHasOffset) {
      std::uint32_t halfs[4];
      offset_halfs<Format>(factors[0], factors[1], t, halfs);
      add_offsets<T>(halfs, x, g, t, offsets);
    }
#pragma unroll
    for (int c = 0; c < T; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float sum = factors[i / 2].scale_unit * float(unit[c][i]);
        if constexpr (Format::kHasOffset) sum = fmaf(kUnscale * factors[i / 2].offset_unit, offsets[c][i], sum);
        sums[c][i] = fmaf(i % 2 ? x.factor[c].y : x.factor[c].x, sum, sums[c][i]);
      }
  }

  /// unit += runs 4 `four` to 4 `four` + 3.
  template <int T>
  static __device__ __forceinline__ void add_folded(const Rows& rows, const GroupBytes<kGroups> (&factors)[2],
                                                    const DigitColumns<T>& x, int t, int four, int (&unit)[T][4]) {
    std::uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      a[i / 4][i % 4] = folded_codes<Format>(rows, factors[i / 4], i / 4, t, 4 * four + i % 4);
#pragma unroll
    for (int c = 0; c < T; ++c) {
      const uint4 b = load16(x.at[c] + 64 * four + 16 * t);
      multiply_onto<false>(unit[c], a[0][0], a[1][0], a[0][1], a[1][1], b.x, b.y);
      multiply_onto<false>(unit[c], a[0][2], a[1][2], a[0][3], a[1][3], b.z, b.w);
      if constexpr (kFoldedBias<Format> != 0) {
        constexpr auto kLess = std::uint32_t(-kFoldedBias<Format> & 255) * 0x01010101u;
        multiply_onto<true>(unit[c], kLess, kLess, kLess, kLess, b.x, b.y);
        multiply_onto<true>(unit[c], kLess, kLess, kLess, kLess, b.z, b.w);
      }
    }
  }
  template <int T>
  static __device__ __forceinline__ void add_groups(const Rows& rows, const GroupBytes<kGroups> (&factors)[2],
                                                    const DigitColumns<T>& x, int t, int four, int (&unit)[T][4]) {
    constexpr int kRuns = kGroup / 16;
    std::uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i) a[i / 4][i % 4] = codes(rows, i / 4, t, 4 * four + i % 4);
    int scale[2][4 / kRuns];
#pragma unroll
    for (int j = 0; j < 4 / kRuns; ++j) {
      const int group = 4 / kRuns * four + j;
      scale[0][j] = signed_byte(factors[0].scales[group / 4], group % 4);
      scale[1][j] = signed_byte(factors[1].scales[group / 4], group % 4);
    }
#pragma unroll
    for (int c = 0; c < T; ++c) {
      const uint4 b = load16(x.at[c] + 64 * four + 16 * t);
#pragma unroll
      for (int j = 0; j < 4 / kRuns; ++j) {
        const int2 first = start<T>(x, t, c, 4 / kRuns * four + j);
        int products[4];
        if constexpr (kRuns == 2)
          multiply_32<kSigned>(products, a[0][2 * j], a[1][2 * j], a[0][2 * j + 1], a[1][2 * j + 1], word_of(b, 2 * j),
                               word_of(b, 2 * j + 1), first);
        else
          multiply_16<kSigned>(products, a[0][j], a[1][j], word_of(b, j), first);
#pragma unroll
        for (int i = 0; i < 4; ++i) unit[c][i] += scale[i / 2][j] * products[i];
      }
    }
  }
};

/// The planes of a row of x, lowest first, a lane each, added.
__device__ __forceinline__ float add_planes(float plane, int t) {
  float sum = t < kPlanes ? plane : 0.0f;
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}
/// Those of each row of x: of rows g and then g + 8 those of x of columns 2 t and 2 t + 1, in lanes that have any.
template <int kRows, int T>
__device__ __forceinline__ float4 add_planes(const Sums<T>& sums, int t) {
  float both[4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float a = sums[0][2 * half], b = sums[0][2 * half + 1];
    if constexpr (kRows == 2) {
      a = add_planes(a, t), b = add_planes(b, t);
    } else {
      // Planes 0 and 1 in pairs of lanes, and plane 2 in the first pair's second product.
      a += __shfl_xor_sync(0xffffffffu, a, 2), b += __shfl_xor_sync(0xffffffffu, b, 2);
      a += sums[T - 1][2 * half], b += sums[T - 1][2 * half + 1];
    }
    both[2 * half] = a, both[2 * half + 1] = b;
  }
  return make_float4(both[0], both[1], both[2], both[3]);
}
/// Stores them: [row of W][kRows rows of x]. One row of x has the columns of two, and the others' sums are not used.
template <int kRows, int T>
__device__ __forceinline__ void store_planes(const Sums<T>& sums, float* to, int g, int t) {
  if constexpr (kRows == 1) {
    const float low = add_planes(sums[0][0], t), high = add_planes(sums[0][2], t);
    if (t == 0) to[g] = low, to[g + 8] = high;
  } else {
    const float4 both = add_planes<kRows, T>(sums, t);
    if (2 * t >= kRows) return;
    *reinterpret_cast<float2*>(to + g * kRows + 2 * t) = make_float2(both.x, both.y);
    *reinterpret_cast<float2*>(to + (g + 8) * kRows + 2 * t) = make_float2(both.z, both.w);
  }
}

/// Where a unit of a row of x goes: its column in each plane, and what its sums and factors are written to.
struct DigitPlace {
  const float* from;
  std::uint8_t* x;
  std::uint32_t plane_bytes;  // between planes of x
  std::uint8_t* sums;         // of the unit
  float* factors;             // of the unit's columns, `columns` of them
  std::uint32_t columns;
  std::uint32_t column, next;  // of plane 0, and from plane to plane
};

struct LoadedUnit {
  float4 v[2];  // values 4 lane to 4 lane + 3 of each 128
};
/// x: at a multiple of 16 bytes.
__device__ __forceinline__ LoadedUnit load_unit(const float* x, int lane) {
  LoadedUnit all;
#pragma unroll
  for (int i = 0; i < 2; ++i) all.v[i] = *reinterpret_cast<const float4*>(x + 128 * i + 4 * lane);
  return all;
}

/// The exponent of the largest, as floats have it, but so that its unit is a normal number.
__device__ __forceinline__ std::uint32_t largest_exponent(const LoadedUnit& all) {
  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i)
    for (const float v : {all.v[i].x, all.v[i].y, all.v[i].z, all.v[i].w})
      largest = max(largest, __float_as_uint(v) & 0x7fffffffu);
  return max(__reduce_max_sync(0xffffffffu, largest) >> 23, 32u);
}
/// 2^power; not a number where the largest activation is none or infinite.
__device__ __forceinline__ float factor_of(std::uint32_t exponent, int power) {
  return __uint_as_float(exponent == 255 ? 0x7fc00000u : (127u + std::uint32_t(power)) << 23);
}

/// Writes the sums of a unit's groups in the form that its products take them. words: a lane's digits, of its values
/// 4 lane to 4 lane + 3 of each half of the unit, by planes.
template <class U>
__device__ __forceinline__ void write_sums(const std::uint32_t (&words)[2][kPlanes], const DigitPlace& to, int lane) {
  constexpr int kLanes = U::kGroup / 4, kHalfGroups = 32 / kLanes, kSums = 2 * kPlanes;
  // Two sums a word: below 2^13 each, and what the lower one borrows from the upper is given back.
  int pairs[kPlanes];
#pragma unroll
  for (int i = 0; i < kPlanes; ++i) {
    const int even = __dp4a(int(words[2 * i / kPlanes][2 * i % kPlanes]), 0x01010101, 0),
              odd = __dp4a(int(words[(2 * i + 1) / kPlanes][(2 * i + 1) % kPlanes]), 0x01010101, 0);
    pairs[i] = even + (odd << 16);
#pragma unroll
    for (int apart = 1; apart < kLanes; apart *= 2) pairs[i] += __shfl_xor_sync(0xffffffffu, pairs[i], apart);
  }
#pragma unroll
  for (int first = 0; first < kSums; first += kLanes) {
    const int own = first + lane % kLanes;
    if (own >= kSums) break;
    const int pair = own < 2 ? pairs[0] : own < 4 ? pairs[1] : pairs[2], even = std::int16_t(pair);
    const int sum = own % 2 == 0 ? even : (pair - even) >> 16;
    const int half = own / kPlanes, group = half * kHalfGroups + lane / kLanes;
    const std::uint32_t column = to.column + std::uint32_t(own - half * kPlanes) * to.next;
    if constexpr (U::kBias != 0) {
      // A unit's sums lie by groups, a group's by columns, of which there are as many as factors.
      const int begin = U::kSmallFactors ? 0 : kMagicBits;
      reinterpret_cast<int*>(to.sums)[group * to.columns + column] = begin - U::kBias * sum;
    } else if constexpr (U::kGroup == 16) {
      reinterpret_cast<std::uint16_t*>(to.sums + 32 * column)[group] = float_to_half(float(sum));
    } else {
      // Both are halfs.
      const int high_part = (sum + 32) & ~63;
      auto* const halfs = reinterpret_cast<std::uint16_t*>(to.sums + 32 * column) + group;
      halfs[0] = float_to_half(float(sum - high_part));
      halfs[8] = float_to_half(float(high_part));
    }
  }
}

/// The digits of a lane's values of a unit, by planes, and the exponent of the unit's largest.
struct UnitDigits {
  std::uint32_t exponent, words[2][kPlanes];
};
/// Of integers below 2^22.
__device__ __forceinline__ UnitDigits digits_of(const LoadedUnit& all) {
  UnitDigits of;
  of.exponent = largest_exponent(all);
  const float scale = __uint_as_float((275 - of.exponent) << 23);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float value[4] = {all.v[i].x, all.v[i].y, all.v[i].z, all.v[i].w};
    std::uint32_t digits[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      digits[j] = __float_as_uint(__fmaf_rn(value[j], scale, kMagic)) + (0x808080u - std::uint32_t(kMagicBits));
    const std::uint32_t low01 = __byte_perm(digits[0], digits[1], 0x5140),
                        low23 = __byte_perm(digits[2], digits[3], 0x5140),
                        high01 = __byte_perm(digits[0], digits[1], 0x0062),
                        high23 = __byte_perm(digits[2], digits[3], 0x0062);
    of.words[i][0] = __byte_perm(low01, low23, 0x5410) ^ 0x80808080u;
    of.words[i][1] = __byte_perm(low01, low23, 0x7632) ^ 0x80808080u;
    of.words[i][2] = __byte_perm(high01, high23, 0x5410) ^ 0x80808080u;
  }
  return of;
}
/// Writes them, and their sums.
template <class U>
__device__ __forceinline__ void write_digits(const UnitDigits& digits, const DigitPlace& to, int lane) {
  std::uint8_t* const x = to.x + 64 * (lane / 16) + 16 * (lane % 4) + lane / 4 % 4 * 4;  // runs of 16 by words
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int p = 0; p < kPlanes; ++p)
      *reinterpret_cast<std::uint32_t*>(x + p * to.plane_bytes + 128 * i) = digits.words[i][p];
  if constexpr (U::kSumBytes != 0) write_sums<U>(digits.words, to, lane);
  if (lane < kPlanes)
    to.factors[to.column + lane * to.next] = factor_of(digits.exponent, int(digits.exponent) - 148 + 8 * lane);
}
template <class U>
__device__ __forceinline__ void split_digits(const LoadedUnit& all, const DigitPlace& to, int lane) {
  write_digits<U>(digits_of(all), to, lane);
}

/// Of each `lanes` lanes, a power of two.
template <int lanes = 32>
__device__ __forceinline__ float lane_sum(float x) {
#pragma unroll
  for (int apart = lanes / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}
__device__ __forceinline__ void scale_unit(LoadedUnit& all, float factor, const LoadedUnit& factors) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    all.v[i].x = all.v[i].x * factor * factors.v[i].x, all.v[i].y = all.v[i].y * factor * factors.v[i].y;
    all.v[i].z = all.v[i].z * factor * factors.v[i].z, all.v[i].w = all.v[i].w * factor * factors.v[i].w;
  }
}
__device__ __forceinline__ void store_unit(float* to, const LoadedUnit& all, int lane) {
#pragma unroll
  for (int i = 0; i < 2; ++i) *reinterpret_cast<float4*>(to + 128 * i + 4 * lane) = all.v[i];
}

/// Splits `count` units, of which place(i) tells where they lie and go, a warp every `step`th from `first` on.
template <class U, class Place>
__device__ __forceinline__ void split_all_digits(std::uint32_t first, std::uint32_t step, std::uint32_t count, int lane,
                                                 const Place& place) {
  // A unit's loads are under way while the digits before are written. Not unrolled: code that is run once is slow to
  // come.
  if (first >= count) return;
  LoadedUnit now = load_unit(place(first).from, lane);
#pragma unroll 1
  for (std::uint32_t at = first; at < count; at += step) {
    const UnitDigits digits = digits_of(now);
    if (at + step < count) now = load_unit(place(at + step).from, lane);
    write_digits<U>(digits, place(at), lane);
  }
}

}  // namespace mlx_native::cuda
