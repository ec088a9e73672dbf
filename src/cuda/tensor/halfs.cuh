// Four codes of a weight format as halfs.
#pragma once

#include "cuda/tensor/packed_x.h"
#include "cuda/words.cuh"
#include "formats/format.h"

namespace mlx_native::cuda {

/// The tile of k that stands in place `place` of a chunk, and is multiplied in that order: those that have bits in the
/// same bytes follow each other.
template <class Format>
__host__ __device__ constexpr uint32_t tile_in(uint32_t place) {
  constexpr bool kAlternates = requires { Format::kAlternates; };
  return kAlternates && (place ^ place >> 1) & 1 ? place ^ 3 : place;
}

/// Two pairs of halfs: values 0, 2 and 1, 3.
struct Halfs {
  uint32_t pair[2];
};

/// Words of four codes, for codes() of a format. A code is those bits of its byte that are set in `mask`, which stand
/// `up` bits further up; the words' other bits have no meaning. So a shift or a mask costs nothing until codes are
/// used.
template <int kWords>
struct Codes {
  uint32_t word[kWords];
  uint32_t mask;
  int up;

  __device__ __forceinline__ Codes operator&(uint32_t bits) const {
    Codes r = *this;
    r.mask &= bits;
    return r;
  }
  __device__ __forceinline__ Codes operator>>(int by) const {
    Codes r = *this;
    r.up += by;
    if (mask != ~0u) r.mask >>= by;
    return r;
  }
  __device__ __forceinline__ Codes operator<<(int by) const {
    Codes r = *this;
    r.up -= by;
    if (mask != ~0u) r.mask <<= by;
    return r;
  }
  __device__ __forceinline__ Codes operator^(uint32_t bits) const {
    Codes r = at(0);
#pragma unroll
    for (int i = 0; i < kWords; ++i) r.word[i] ^= bits;
    return r;
  }
  /// Of codes that have other bits.
  __device__ __forceinline__ Codes operator|(const Codes& o) const {
    Codes r = at(0);
    const Codes others = o.at(0);
#pragma unroll
    for (int i = 0; i < kWords; ++i) r.word[i] = select_bits(r.word[i], others.word[i], mask);
    r.mask |= o.mask;
    return r;
  }
  /// The same codes, `to` bits up.
  __device__ __forceinline__ Codes at(int to) const {
    Codes r = *this;
    const uint32_t by = uint32_t(up - to) % 32;
#pragma unroll
    for (int i = 0; i < kWords; ++i) r.word[i] = word[i] >> by | word[i] << (32 - by) % 32;
    r.up = to;
    return r;
  }
  __device__ __forceinline__ Codes<1> of(int i) const { return {{word[i]}, mask, up}; }
  /// Of the first word, each code a byte.
  __device__ __forceinline__ uint32_t bytes() const { return at(0).word[0] & mask; }
};

/// Codes 0 and 2 of a word, and 1 and 3, each as the half 1024 + (code << up).
__device__ __forceinline__ uint32_t even_codes(const Codes<1>& codes) {
  return masked_or(codes.word[0], codes.mask << codes.up & 0x00ff00ffu, 0x64006400u);
}
/// `odd_bytes` is kOddBytes, in a register where it is to stay in one: an instruction takes one constant only.
inline constexpr uint32_t kOddBytes = 0x4341;
__device__ __forceinline__ uint32_t odd_codes(const Codes<1>& codes, uint32_t odd_bytes = kOddBytes) {
  if (codes.mask == ~0u) return __byte_perm(codes.word[0], 0x64646464u, odd_bytes);
  return masked_or(codes.word[0] >> 8, codes.mask << codes.up & 0x00ff00ffu, 0x64006400u);
}

__device__ __forceinline__ uint32_t bits_of(__half2 pair) { return *reinterpret_cast<const uint32_t*>(&pair); }
__device__ __forceinline__ __half2 pair_of(uint32_t bits) { return *reinterpret_cast<const __half2*>(&bits); }
__device__ __forceinline__ uint32_t rounded_pair(float a, float b) { return bits_of(__floats2half2_rn(a, b)); }

/// What rounding to `pair` lost of a and b.
__device__ __forceinline__ uint32_t lost_pair(float a, float b, uint32_t pair) {
  const float2 rounded = __half22float2(pair_of(pair));
  return rounded_pair(a - rounded.x, b - rounded.y);
}
/// Two weights in two parts each: what they are rounded to, or, for blended x, kHighShare of it, and the rest.
template <bool kBlended>
__device__ __forceinline__ void split_pair(float a, float b, uint32_t& high, uint32_t& low) {
  high = kBlended ? rounded_pair(kHighShare * a, kHighShare * b) : rounded_pair(a, b);
  low = lost_pair(a, b, high);
}

/// Codes without their bias, exactly.
template <class Format>
__device__ __forceinline__ Halfs exact_halfs(const Codes<1>& codes, uint32_t odd_bytes = kOddBytes) {
  const Codes<1> c = codes.at(codes.up + Format::kBits <= 10 ? codes.up : 0);
  const float unit = 1.0f / float(1 << c.up);
  const __half2 by = __float2half2_rn(unit), bias = __float2half2_rn(-(1024.0f * unit + Format::kBias));
  const auto value = [&](uint32_t biased) {
    return bits_of(c.up == 0 ? __hadd2(pair_of(biased), bias) : __hfma2(pair_of(biased), by, bias));
  };
  return {{value(even_codes(c)), value(odd_codes(c, odd_bytes))}};
}

/// How a group's codes become halfs of kWeightUnit * value. Made once per group.
template <class Format, bool kFull>
struct GroupDecode;

/// Without an offset: code - bias is exact in f16, its product with a scale rounded to f16 is rounded once. The scale
/// of formats of one f16 per block is exact.
template <class Format>
requires(!Format::kHasOffset) struct GroupDecode<Format, false> {
  uint32_t scale;
  GroupDecode() = default;
  __device__ explicit GroupDecode(Affine a) : scale(bits_of(__float2half2_rn(kWeightUnit * a.scale))) {}
  __device__ Halfs high(const Codes<1>& codes, uint32_t odd_bytes = kOddBytes) const {
    const Halfs exact = exact_halfs<Format>(codes, odd_bytes);
    return {{bits_of(__hmul2(pair_of(exact.pair[0]), pair_of(scale))),
             bits_of(__hmul2(pair_of(exact.pair[1]), pair_of(scale)))}};
  }
};

/// With an offset: in f32, for a scale and an offset rounded to f16 are wrong together for a whole group, and more so
/// where they nearly cancel. 0x3f800000 | code << 16 is 1 + code / 128 for codes below 128.
template <class Format>
requires(Format::kHasOffset) struct GroupDecode<Format, false> {
  static_assert(Format::kBias == 0 && Format::kBits < 8);
  float scale, offset;
  GroupDecode() = default;
  __device__ explicit GroupDecode(Affine a)
      : scale(128.0f * kWeightUnit * a.scale), offset(kWeightUnit * a.offset - 128.0f * kWeightUnit * a.scale) {}
  __device__ Halfs high(const Codes<1>& codes, uint32_t = kOddBytes) const {
    const uint32_t c = codes.bytes() | 0x80808080u;
    const auto value = [&](uint32_t selector) {
      return fmaf(__uint_as_float(__byte_perm(c, 0x3f000000u, selector)), scale, offset);
    };
    return {{rounded_pair(value(0x7044), value(0x7244)), rounded_pair(value(0x7144), value(0x7344))}};
  }
};

/// In f32, as the format's contract says but for the factor, in two parts.
template <class Format>
struct GroupDecode<Format, true> {
  float scale, offset;
  GroupDecode() = default;
  __device__ explicit GroupDecode(Affine a) : scale(kWeightUnit * a.scale), offset(kWeightUnit * a.offset) {}
  template <bool kBlended>
  __device__ void split(const Codes<1>& codes, Halfs& high, Halfs& low) const {
    const uint32_t bytes = codes.bytes();
#pragma unroll
    for (int i = 0; i < 2; ++i) split_pair<kBlended>(value(bytes, i), value(bytes, i + 2), high.pair[i], low.pair[i]);
  }
  __device__ float value(uint32_t codes, int i) const {
    const float code = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7650 + uint32_t(i)));  // 2^23 + code
    return fmaf(code - float(8388608 + Format::kBias), scale, offset);
  }
};

}  // namespace mlx_native::cuda
