// A unit of work of a warp: 16 rows of 256 weights in shared memory times up to 4 T rows of activations.
//
// The tensor cores multiply 16 x 16 weights by 16 x 8 activations. A weight becomes an exact half: its code, or its
// code times its group's integer scale where that stays below 2048. Activations are split in two halfs, hi + lo, which
// keep 22 bits; four rows of hi and four of lo are the 8 columns. What is left of the scales is applied to sums in f32.
//
// The 16 values of a product's inner dimension may be any 16 of a group, as long as both operands agree: a lane takes
// those whose codes lie together in memory, and the activations are stored in that order.
//
// A half whose bits are those of a small integer is that integer times 2^-24: a code needs no conversion. Codes in high
// nibbles are 16 times as large, for which their scale, or the activations, make up.
#pragma once

#include "cuda/vec/blocks.cuh"

namespace mlx_native::cuda {

/// Order of 256 activations in shared memory, by granules of 8 halfs. A granule holds two pieces of 4 values.
enum class Order {
  Runs,    ///< values 4 t to 4 t + 3 of a run of 16 and of the next run
  Pairs,   ///< 8 neighbours; one granule of padding after 8, so that lanes 64 values apart use different banks
  Values,  ///< 8 neighbours
};

/// How columns have rows of x: both halfs as columns of one product, of four rows; as one after the other of two
/// products, of eight; or rounded to one half, eight rows.
enum class Halfs { Beside, InTurn, Rounded };

/// The activations of a unit as a lane sees them: T columns, and the factors of the columns whose sums it holds. Behind
/// the activations stand, as halfs, the sums of each group, which the groups' offsets are multiplied by.
template <int T>
struct Columns {
  const std::uint8_t* at[T];
  std::uint32_t low;  // bytes from a column's half to the one that comes in turn
  float2 factor[T];
};

template <int T>
using Sums = float[T][4];
template <Halfs kHalfs>
constexpr int kTurns = kHalfs == Halfs::InTurn ? 2 : 1;

__device__ __forceinline__ uint4 load16(const std::uint8_t* p) { return *reinterpret_cast<const uint4*>(p); }
__device__ __forceinline__ float load_half(const std::uint8_t* p) {
  return half_to_float(*reinterpret_cast<const std::uint16_t*>(p));
}
__device__ __forceinline__ std::uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// Words at an address that is a multiple of 2.
struct Words2 {
  const std::uint32_t* word;
  int shift;
  /// at: p, or what is as far from a multiple of 4.
  __device__ __forceinline__ Words2(const std::uint8_t* p, std::uintptr_t at)
      : word(reinterpret_cast<const std::uint32_t*>(p - (at & 2))), shift(int(at & 2) * 8) {}
  __device__ __forceinline__ explicit Words2(const std::uint8_t* p) : Words2(p, reinterpret_cast<std::uintptr_t>(p)) {}
  __device__ __forceinline__ std::uint32_t operator[](int i) const {
    return __funnelshift_r(word[i], word[i + 1], shift);
  }
};

constexpr float kUnscale = 0x1p24f;
constexpr std::uint32_t kLow = 0x000f000f, kHigh = 0x00f000f0;
__device__ constexpr std::uint32_t twice(std::uint32_t half) { return half | half << 16; }

/// sums += factors of columns times row0, row1 (rows g and g + 8) times acc.
template <int T>
__device__ __forceinline__ void add_unit(Sums<T>& sums, const Columns<T>& x, float row0, float row1,
                                         const Sums<T>& acc) {
#pragma unroll
  for (int i = 0; i < T; ++i) {
    sums[i][0] = fmaf(x.factor[i].x, row0 * acc[i][0], sums[i][0]);
    sums[i][1] = fmaf(x.factor[i].y, row0 * acc[i][1], sums[i][1]);
    sums[i][2] = fmaf(x.factor[i].x, row1 * acc[i][2], sums[i][2]);
    sums[i][3] = fmaf(x.factor[i].y, row1 * acc[i][3], sums[i][3]);
  }
}
/// sums += row0, row1 times acc.
template <int T>
__device__ __forceinline__ void add_group(Sums<T>& sums, const Sums<T>& acc, float row0, float row1) {
#pragma unroll
  for (int i = 0; i < T; ++i) {
    sums[i][0] = fmaf(row0, acc[i][0], sums[i][0]);
    sums[i][1] = fmaf(row0, acc[i][1], sums[i][1]);
    sums[i][2] = fmaf(row1, acc[i][2], sums[i][2]);
    sums[i][3] = fmaf(row1, acc[i][3], sums[i][3]);
  }
}
template <int T>
__device__ __forceinline__ void clear(Sums<T>& sums) {
#pragma unroll
  for (int i = 0; i < 4 * T; ++i) sums[i / 4][i % 4] = 0.0f;
}
/// What the kernel knows of a format. kRowBytes: of 256 values; kAligned: a multiple of 16, as is its address.
/// kXBytes: of 256 activations of a column. kSkew: bytes between columns, modulo 128, so that lanes of a load use
/// different banks; between rows an odd number of 16 bytes does the same. kHighFrom: activations in whose index this
/// bit is set meet codes of high nibbles. kGroups: sums of a unit, of 256 / kGroups activations each; 0: none needed.
///   add(rows, x, t, sums): sums += rows times columns
template <class Format>
struct Unit;

/// Q4_K and Q5_K. Lane t takes the 64 values of groups 2 t and 2 t + 1, whose nibbles share 32 bytes.
template <bool kFifthBit>
struct ScaleMinUnit {
  static constexpr Order kOrder = Order::Pairs;
  static constexpr bool kAligned = true, kBrainFloat = false, kSwap = true;
  static constexpr int kHeader = kFifthBit ? 48 : 16;
  static constexpr int kRowBytes = kHeader + 128, kXBytes = 576, kSumsAt = 560, kSkew = 64, kHighFrom = 0, kGroups = 8,
                       kLowSums = 144;  // before kSumsAt: in another granule of padding

  template <int T, Halfs kHalfs = Halfs::Beside, bool kRowsAlign = false>
  static __device__ __forceinline__ void add(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    constexpr int kParts = kTurns<kHalfs>;
    Sums<T> acc[kParts] = {}, offsets = {};
    float d[2], dmin[2];
    std::uint32_t low_scale[2], high_scale[2], mins[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const uint4 head = load16(rows.at[r]);
      d[r] = kUnscale * half_to_float(std::uint16_t(head.x));
      dmin[r] = -kUnscale * half_to_float(std::uint16_t(head.x >> 16));
      // Scales and mins of groups 0 to 3 or, in lanes of groups 4 to 7, of those: see ScaleMin6.
      const std::uint32_t scales = t < 2 ? head.y & 0x3f3f3f3fu : (head.w & 0x0f0f0f0fu) | (head.y >> 2 & 0x30303030u);
      const std::uint32_t minima =
          t < 2 ? head.z & 0x3f3f3f3fu : (head.w >> 4 & 0x0f0f0f0fu) | (head.z >> 2 & 0x30303030u);
      // Byte 2 t of the two words, below the exponent of 1024 (s), of 64 (s / 16), or nothing.
      const std::uint32_t byte = 2 * (t & 1), first = byte | byte << 8 | 0x4040u;
      low_scale[r] = subtract2(__byte_perm(scales, 0x64646464u, first), 0x64006400u);
      high_scale[r] = subtract2(__byte_perm(scales, 0x54545454u, first + 0x0101u), 0x54005400u);
      mins[r] = __byte_perm(minima, 0, first + 0x0100u);
    }
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      uint4 nibbles[2], bits[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        nibbles[r] = load16(rows.at[r] + kHeader + 32 * t + 16 * u);
        if constexpr (kFifthBit) bits[r] = load16(rows.at[r] + 16 + 16 * u);
      }
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        std::uint32_t low[2][4], high[2][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int j = i / 2, r = i % 2;
          const std::uint32_t w = word_of(nibbles[r], 2 * pair + j), w8 = w >> 8;
          std::uint32_t l0 = w & kLow, l1 = w8 & kLow, h0 = w & kHigh, h1 = w8 & kHigh;
          if constexpr (kFifthBit) {
            const std::uint32_t b = word_of(bits[r], 2 * pair + j) >> (2 * t);
            l0 |= b << 4 & 0x00100010u;
            l1 |= b >> 4 & 0x00100010u;
            h0 |= b << 7 & 0x01000100u;
            h1 |= b >> 1 & 0x01000100u;
          }
          low[j][r] = multiply2(l0, low_scale[r]);
          low[j][2 + r] = multiply2(l1, low_scale[r]);
          high[j][r] = multiply2(h0, high_scale[r]);
          high[j][2 + r] = multiply2(h1, high_scale[r]);
        }
#pragma unroll
        for (int i = 0; i < T * kParts; ++i) {
          const int c = i / kParts, part = i % kParts;
          const std::uint8_t* const granule = x.at[c] + part * x.low + 144 * t + 16 * (2 * u + pair);
          const uint4 b = load16(granule), b_high = load16(granule + 64);
          multiply_tile<false>(acc[part][c], low[0], b.x, b.y);
          multiply_tile<false>(acc[part][c], low[1], b.z, b.w);
          multiply_tile<false>(acc[part][c], high[0], b_high.x, b_high.y);
          multiply_tile<false>(acc[part][c], high[1], b_high.z, b_high.w);
        }
      }
    }
#pragma unroll
    for (int c = 0; c < T; ++c) {
      const std::uint8_t* const sums_of_x = x.at[c] + kSumsAt + 4 * t;
      if constexpr (kHalfs == Halfs::Beside)
        multiply_half_tile(offsets[c], mins[0], mins[1], load4(sums_of_x));
      else
        multiply_tile<false>(offsets[c], {mins[0], mins[1], mins[0], mins[1]}, load4(sums_of_x),
                             load4(kParts == 2 ? sums_of_x + x.low : sums_of_x - kLowSums));
    }
#pragma unroll
    for (int c = 0; c < T; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kParts == 2) acc[0][c][i] += acc[1][c][i];
        acc[0][c][i] = fmaf(dmin[i / 2], offsets[c][i], d[i / 2] * acc[0][c][i]);
      }
    }
    add_unit<T>(sums, x, 1.0f, 1.0f, acc[0]);
  }
};
template <>
struct Unit<Q4_K> : ScaleMinUnit<false> {};
template <>
struct Unit<Q5_K> : ScaleMinUnit<true> {};

/// Formats of 32 values with one scale. Lane t takes values 4 t to 4 t + 3 of both runs of a block.
/// Block(block, t).decode(words, a): codes of values 0, 2 | 1, 3 of run 0, then of run 1, of the block so many words
/// on. The bias is taken from every code: were their sum taken from the result, little would be left of it where most
/// codes are the bias.
template <class Block, int kBytes, int kBias, int kTheHighFrom>
struct ScaleUnit {
  static constexpr Order kOrder = Order::Runs;
  static constexpr bool kAligned = false, kBrainFloat = false, kSwap = true;
  static constexpr int kRowBytes = 8 * kBytes, kXBytes = 512, kSumsAt = 0, kSkew = 64, kHighFrom = kTheHighFrom,
                       kGroups = 0;

  template <int T, Halfs kHalfs = Halfs::Beside, bool kRowsAlign = false>
  static __device__ __forceinline__ void add(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    constexpr std::uint32_t kHighBias = kHighFrom ? 16 * kBias : kBias;
    Sums<T> unit = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      std::uint32_t codes[2][4];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        // Blocks of an even index are equally far from a word's start, and the others.
        const std::uint8_t* const block = rows.at[r] + i % 2 * kBytes;
        Block(block, t, kRowsAlign ? i % 2 * kBytes : reinterpret_cast<std::uintptr_t>(block))
            .decode(i / 2 * kBytes / 2, codes[r]);
#pragma unroll
        for (int j = 0; j < 4; ++j) codes[r][j] = subtract2(codes[r][j], twice(j < 2 ? kBias : kHighBias));
      }
      const std::uint32_t run0[4] = {codes[0][0], codes[1][0], codes[0][1], codes[1][1]};
      const std::uint32_t run1[4] = {codes[0][2], codes[1][2], codes[0][3], codes[1][3]};
      Sums<T> acc = {};
#pragma unroll
      for (int j = 0; j < T * kTurns<kHalfs>; ++j) {
        const int c = j / kTurns<kHalfs>;
        const uint4 b = load16(x.at[c] + j % kTurns<kHalfs> * x.low + 64 * i + 16 * t);
        multiply_tile<false>(acc[c], run0, b.x, b.y);
        multiply_tile<false>(acc[c], run1, b.z, b.w);
      }
      add_group<T>(unit, acc, load_half(rows.at[0] + i * kBytes), load_half(rows.at[1] + i * kBytes));
    }
    add_unit<T>(sums, x, kUnscale, kUnscale, unit);
  }
};

struct Q4_0Words {
  Words2 codes;
  __device__ __forceinline__ Q4_0Words(const std::uint8_t* block, int t, std::uintptr_t at)
      : codes(block + 2 + 4 * t, at + 2) {}
  __device__ __forceinline__ void decode(int words, std::uint32_t (&a)[4]) const {
    const std::uint32_t w = codes[words], w8 = w >> 8;
    a[0] = w & kLow, a[1] = w8 & kLow, a[2] = w & kHigh, a[3] = w8 & kHigh;
  }
};
template <>
struct Unit<Q4_0> : ScaleUnit<Q4_0Words, 18, Q4_0::kBias, 16> {};

struct Q5_0Words {
  Words2 codes, bits;
  int t;
  __device__ __forceinline__ Q5_0Words(const std::uint8_t* block, int lane, std::uintptr_t at)
      : codes(block + 6 + 4 * lane, at + 6), bits(block + 2, at + 2), t(lane) {}
  __device__ __forceinline__ void decode(int words, std::uint32_t (&a)[4]) const {
    const std::uint32_t w = codes[words], w8 = w >> 8, b = bits[words] >> (4 * t);
    // Bit i of a nibble at bit 8 i.
    const std::uint32_t b0 = (b & 15) * 0x00204081u, b1 = (b >> 16 & 15) * 0x00204081u;
    a[0] = (w & kLow) | (b0 << 4 & 0x00100010u);
    a[1] = (w8 & kLow) | (b0 >> 4 & 0x00100010u);
    a[2] = (w & kHigh) | (b1 << 8 & 0x01000100u);
    a[3] = (w8 & kHigh) | (b1 & 0x01000100u);
  }
};
template <>
struct Unit<Q5_0> : ScaleUnit<Q5_0Words, 22, Q5_0::kBias, 16> {};

struct Q8_0Words {
  Words2 codes;
  __device__ __forceinline__ Q8_0Words(const std::uint8_t* block, int t, std::uintptr_t at)
      : codes(block + 2 + 4 * t, at + 2) {}
  __device__ __forceinline__ void decode(int words, std::uint32_t (&a)[4]) const {
#pragma unroll
    for (int run = 0; run < 2; ++run) {
      const std::uint32_t w = codes[words + 4 * run] ^ 0x80808080u;
      a[2 * run] = __byte_perm(w, 0, 0x4240);
      a[2 * run + 1] = __byte_perm(w, 0, 0x4341);
    }
  }
};
template <>
struct Unit<Q8_0> : ScaleUnit<Q8_0Words, 34, Q8_0::kBias, 0> {};

/// Lane t takes values 4 t to 4 t + 3 of each run; a run is a group.
template <>
struct Unit<Q6_K> {
  static constexpr Order kOrder = Order::Runs;
  static constexpr bool kAligned = false, kBrainFloat = false, kSwap = true;
  static constexpr int kRowBytes = 210, kXBytes = 512, kSumsAt = 0, kSkew = 64, kHighFrom = 64, kGroups = 0;

  template <int T, Halfs kHalfs = Halfs::Beside, bool kRowsAlign = false>
  static __device__ __forceinline__ void add(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    constexpr bool kFolds = kHalfs == Halfs::Rounded;  // scales into codes, which are rounded then
    Sums<T> unit = {}, first = {}, second = {};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      std::uint32_t low[2][2][2], high[2][2];  // [row][first or second 16 of a quarter]
      std::uint32_t scales[2][2];              // four bytes each, plus 128
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = i / 2, s = i % 2;
        const Words2 words(rows.at[r] + 4 * t);
        low[r][s][0] = words[16 * h + 4 * s];
        low[r][s][1] = words[16 * h + 8 + 4 * s];
        high[r][s] = words[32 + 8 * h + 4 * s];
        scales[r][s] = Words2(rows.at[r] + 192)[2 * h + s];
      }
#pragma unroll
      for (int quarter = 0; quarter < 4; ++quarter) {
        const std::uint32_t nibble = quarter < 2 ? kLow : kHigh, top = quarter < 2 ? 0x00300030u : 0x03000300u,
                            bias = twice(quarter < 2 ? Q6_K::kBias : 16 * Q6_K::kBias);
        std::uint32_t a[2][4];
        float scale[2][2];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int r = i / 2, s = i % 2;
          const std::uint32_t w = low[r][s][quarter % 2], w8 = w >> 8, b = high[r][s];
          const std::uint32_t b0 = quarter % 2 ? b << 2 : b << 4, b1 = quarter % 2 ? b >> 6 : b >> 4;
          // Runs 2 q and 2 q + 1 of a half: bytes of word q / 2, below the exponent of 2^23.
          const std::uint32_t byte = 2 * (quarter % 2) + s;
          const std::uint32_t even = (w & nibble) | (b0 & top), odd = (w8 & nibble) | (b1 & top);
          if constexpr (kFolds) {
            const std::uint32_t both =
                subtract2(__byte_perm(scales[r][quarter / 2] ^ 0x80808080u, 0x64646464u, 0x4040u | byte | byte << 8),
                          0x64806480u);
            const std::uint32_t less = multiply2(both, bias | 0x80008000u);
            a[s][r] = multiply_add2(even, both, less), a[s][2 + r] = multiply_add2(odd, both, less);
          } else {
            scale[r][s] = float(static_cast<signed char>(scales[r][quarter / 2] >> 8 * byte));
            a[s][r] = subtract2(even, bias), a[s][2 + r] = subtract2(odd, bias);
          }
        }
        if constexpr (!kFolds) clear<T>(first), clear<T>(second);
#pragma unroll
        for (int i = 0; i < T * kTurns<kHalfs>; ++i) {
          const int c = i / kTurns<kHalfs>;
          const uint4 b = load16(x.at[c] + i % kTurns<kHalfs> * x.low + 64 * (4 * h + quarter) + 16 * t);
          multiply_tile<false>(first[c], a[0], b.x, b.y);
          multiply_tile<false>(second[c], a[1], b.z, b.w);
        }
        if constexpr (!kFolds) {
          add_group<T>(unit, first, scale[0][0], scale[1][0]);
          add_group<T>(unit, second, scale[0][1], scale[1][1]);
        }
      }
    }
    if constexpr (kFolds) add_group<T>(first, second, 1.0f, 1.0f);
    add_unit<T>(sums, x, kUnscale * load_half(rows.at[0] + 208), kUnscale * load_half(rows.at[1] + 208),
                kFolds ? first : unit);
  }
};

/// F16 and BF16. Lane t takes values 16 t to 16 t + 15 of each 64.
template <bool kBf16>
struct HalfUnit {
  static constexpr Order kOrder = Order::Values;
  static constexpr bool kAligned = true, kBrainFloat = kBf16, kSwap = false;
  static constexpr int kRowBytes = 512, kXBytes = 512, kSumsAt = 0, kSkew = 16, kHighFrom = 0, kGroups = 0;

  template <int T, Halfs kHalfs = Halfs::Beside, bool kRowsAlign = false>
  static __device__ __forceinline__ void add(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    Sums<T> acc = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int at = 128 * (i / 2) + 32 * t + 16 * (i % 2);
      const uint4 w0 = load16(rows.at[0] + at), w1 = load16(rows.at[1] + at);
      const std::uint32_t first[4] = {w0.x, w1.x, w0.y, w1.y}, second[4] = {w0.z, w1.z, w0.w, w1.w};
#pragma unroll
      for (int c = 0; c < T; ++c) {
        const uint4 b = load16(x.at[c] + at);
        multiply_tile<kBf16>(acc[c], first, b.x, b.y);
        multiply_tile<kBf16>(acc[c], second, b.z, b.w);
      }
    }
    add_unit<T>(sums, x, 1.0f, 1.0f, acc);
  }
};
template <>
struct Unit<F16> : HalfUnit<false> {};
template <>
struct Unit<BF16> : HalfUnit<true> {};

/// Bytes between the rows of a unit.
template <class U>
constexpr int kPitchOf = (U::kRowBytes + (U::kAligned ? 0 : 14) + 15) / 16 / 2 * 32 + 16;

}  // namespace mlx_native::cuda
