// The common subset of C++, CUDA C++ and Metal: address spaces, fixed-width integers, bit casts and half floats.
// Whatever must compile for every device (format decodes, kernel arguments, gpu/kernels) includes this and no system
// header.
//
//   K_FN      a function of a device (always inlined on the host, so that no copy of it crosses instruction sets)
//   K_GLOBAL  K_SHARED  K_CONST   address space of a pointer's target
//   K_TABLE   a constant table at namespace scope
//   K_STATIC  a constant of a struct
//   K_UNROLL  before a loop of constant length whose arrays must live in registers
#pragma once

#if defined(__METAL_VERSION__)
#include <metal_stdlib>
#define K_FN inline
#define K_GLOBAL device
#define K_SHARED threadgroup
#define K_CONST constant
#define K_TABLE constant constexpr
#define K_STATIC static constant constexpr
#define K_UNROLL _Pragma("unroll")
#elif defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#define K_FN __device__ __forceinline__
#define K_GLOBAL
#define K_SHARED
#define K_CONST
#define K_TABLE static __device__ constexpr
#define K_STATIC static constexpr
#define K_UNROLL _Pragma("unroll")
#else
#include <cstdint>
#define K_FN inline __attribute__((always_inline))
#define K_GLOBAL
#define K_SHARED
#define K_CONST
#define K_TABLE inline constexpr
#define K_STATIC static constexpr
#define K_UNROLL
#endif

namespace mlx_native {

#if defined(__METAL_VERSION__)
using namespace metal;
K_FN float bits_to_float(uint32_t bits) { return as_type<float>(bits); }
K_FN uint32_t float_to_bits(float value) { return as_type<uint32_t>(value); }
K_FN float half_to_float(uint16_t bits) { return float(as_type<half>(bits)); }
K_FN uint16_t float_to_half(float value) { return as_type<uint16_t>(half(value)); }
K_FN float multiply_add(float a, float b, float c) { return fma(a, b, c); }
K_FN float square_root(float x) { return precise::sqrt(x); }
K_FN void store_word(device uint32_t* p, uint32_t value) {
  atomic_store_explicit(reinterpret_cast<device atomic_uint*>(p), value, memory_order_relaxed);
}
#else
using std::int16_t;
using std::int32_t;
using std::int8_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;
#if defined(__CUDACC__)
K_FN float bits_to_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
K_FN uint32_t float_to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
K_FN float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
K_FN uint16_t float_to_half(float value) { return __half_as_ushort(__float2half_rn(value)); }
K_FN float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
K_FN float square_root(float x) { return sqrtf(x); }
K_FN void store_word(uint32_t* p, uint32_t value) { *static_cast<volatile uint32_t*>(p) = value; }
#else
K_FN float bits_to_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }
K_FN uint32_t float_to_bits(float value) { return __builtin_bit_cast(uint32_t, value); }
/// Exact, subnormals and infinities included; NaN for NaN (where no instruction makes it quiet, with its payload).
K_FN float half_to_float(uint16_t bits) {
#if defined(__F16C__)
  using Halfs = short __attribute__((vector_size(16)));
  return __builtin_ia32_vcvtph2ps(Halfs{short(bits)})[0];
#else
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return bits_to_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // 2^112 moves the exponent bias from 15 to 127; the multiplication also normalises subnormals.
  return bits_to_float(sign | float_to_bits(bits_to_float(magnitude << 13) * 0x1p112f));
#endif
}
K_FN uint16_t float_to_half(float value) {
  const uint32_t bits = float_to_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // 65520, halfway to 65536
  // Below 2^-14: the sum with 1/2 rounds to a multiple of 2^-24, the step of subnormal halfs.
  if (magnitude < 0x38800000u) return uint16_t(sign | (float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u));
  return uint16_t(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}
K_FN float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
K_FN float square_root(float x) { return __builtin_sqrtf(x); }
K_FN void store_word(uint32_t* p, uint32_t value) { __atomic_store_n(p, value, __ATOMIC_RELAXED); }
#endif
#endif

// multiply_add(a, b, c) is a * b + c, rounded once; square_root is correctly rounded. No compiler may fuse by itself.
// float_to_half rounds to nearest even; overflow is infinite, a NaN stays a NaN. Of several threads that store_word()
// to one place, any one wins.

K_FN float bfloat_to_float(uint16_t bits) { return bits_to_float(uint32_t(bits) << 16); }

/// The little-endian 32-bit word at `p`, whose address is a multiple of Align. The host needs no alignment.
template <int Align>
K_FN uint32_t load_word(const K_GLOBAL uint8_t* p) {
#if defined(__METAL_VERSION__) || defined(__CUDA_ARCH__)
  if constexpr (Align % 4 == 0) {
    return *reinterpret_cast<const K_GLOBAL uint32_t*>(p);
  } else if constexpr (Align % 2 == 0) {
    const K_GLOBAL uint16_t* h = reinterpret_cast<const K_GLOBAL uint16_t*>(p);
    return h[0] | uint32_t(h[1]) << 16;
  }
#endif
  return p[0] | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16 | uint32_t(p[3]) << 24;
}

struct alignas(16) FourWords {
  uint32_t word[4];
};

/// The words at `p`, `p + 4`, `p + 8` and `p + 12`; by one load where a device can.
template <int Align>
K_FN FourWords load_four_words(const K_GLOBAL uint8_t* p) {
#if defined(__METAL_VERSION__) || defined(__CUDA_ARCH__)
  if constexpr (Align % 16 == 0) return *reinterpret_cast<const K_GLOBAL FourWords*>(p);
#endif
  return {load_word<Align>(p), load_word<Align>(p + 4), load_word<Align>(p + 8), load_word<Align>(p + 12)};
}

}  // namespace mlx_native
