// Four codes of a weight format as halfs.
#pragma once

#include "cuda/tensor/packed_x.h"
#include "formats/format.h"

namespace mlx_native::cuda {

/// Two pairs of halfs: values 0, 2 and 1, 3.
struct Halfs {
  uint32_t pair[2];
};

/// Codes 0 and 2 of a word, and 1 and 3, each as the half 1024 + code.
__device__ __forceinline__ uint32_t even_codes(uint32_t codes) { return (codes & 0x00ff00ffu) | 0x64006400u; }
/// `odd_bytes` is kOddBytes, in a register where it is to stay in one: an instruction takes one constant only.
inline constexpr uint32_t kOddBytes = 0x4341;
__device__ __forceinline__ uint32_t odd_codes(uint32_t codes, uint32_t odd_bytes = kOddBytes) {
  return __byte_perm(codes, 0x64646464u, odd_bytes);
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
__device__ __forceinline__ Halfs exact_halfs(uint32_t codes, uint32_t odd_bytes = kOddBytes) {
  const __half2 bias = __float2half2_rn(1024.0f + Format::kBias);
  return {{bits_of(__hsub2(pair_of(even_codes(codes)), bias)),
           bits_of(__hsub2(pair_of(odd_codes(codes, odd_bytes)), bias))}};
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
  __device__ Halfs high(uint32_t codes, uint32_t odd_bytes = kOddBytes) const {
    const __half2 bias = __float2half2_rn(1024.0f + Format::kBias), s = pair_of(scale);
    return {{bits_of(__hmul2(__hsub2(pair_of(even_codes(codes)), bias), s)),
             bits_of(__hmul2(__hsub2(pair_of(odd_codes(codes, odd_bytes)), bias), s))}};
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
  __device__ Halfs high(uint32_t codes, uint32_t = kOddBytes) const {
    const uint32_t c = codes | 0x80808080u;
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
  __device__ void split(uint32_t codes, Halfs& high, Halfs& low) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) split_pair<kBlended>(value(codes, i), value(codes, i + 2), high.pair[i], low.pair[i]);
  }
  __device__ float value(uint32_t codes, int i) const {
    const float code = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7650 + uint32_t(i)));  // 2^23 + code
    return fmaf(code - float(8388608 + Format::kBias), scale, offset);
  }
};

}  // namespace mlx_native::cuda
