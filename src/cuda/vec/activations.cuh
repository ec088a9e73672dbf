// Activations on their way into shared memory, in the form that units (cuda/vec/units.cuh) take them.
#pragma once

#include "cuda/vec/any_unit.cuh"

namespace mlx_native::cuda {

/// A lane's 8 of 256 activations: a granule of Unit U's order.
struct Granule {
  float v[8];
};

/// kAligned: x lies at a multiple of 16 bytes.
template <class U, bool kAligned = false>
__device__ __forceinline__ Granule load_granule(const float* x, int lane) {
  const int first = U::kOrder == Order::Runs ? 32 * (lane / 4) + 4 * (lane % 4) : 8 * lane;
  const int second = U::kOrder == Order::Runs ? first + 16 : first + 4;
  if constexpr (!kAligned) {
    if (reinterpret_cast<std::uintptr_t>(x) % 16 != 0) {
      Granule granule;
#pragma unroll
      for (int i = 0; i < 4; ++i) granule.v[i] = x[first + i], granule.v[4 + i] = x[second + i];
      return granule;
    }
  }
  const float4 a = *reinterpret_cast<const float4*>(x + first), b = *reinterpret_cast<const float4*>(x + second);
  return {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
}

/// Two values, each rounded once, in a word; and what is lost.
template <bool kBrainFloat>
__device__ __forceinline__ std::uint32_t round_pair(float a, float b) {
  std::uint32_t pair;
  if constexpr (kBrainFloat)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(b), "f"(a));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(b), "f"(a));
  return pair;
}
template <bool kBrainFloat>
__device__ __forceinline__ float2 values_of(std::uint32_t pair) {
  if constexpr (kBrainFloat) return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
  return make_float2(half_to_float(std::uint16_t(pair)), half_to_float(std::uint16_t(pair >> 16)));
}

/// The sum of a group as two halfs, the second behind lo or, if there is none, before or behind the first.
template <class U, bool kSplit>
__device__ __forceinline__ void write_sum(std::uint8_t* hi, std::uint8_t* lo, int group, float sum) {
  std::uint8_t* const rest = kSplit ? lo + U::kSumsAt : hi + U::kSumsAt - U::kLowSums;
  const std::uint16_t h = float_to_half(sum);
  *reinterpret_cast<std::uint16_t*>(hi + U::kSumsAt + 2 * group) = h;
  *reinterpret_cast<std::uint16_t*>(rest + 2 * group) = float_to_half(sum - half_to_float(h));
}

/// Splits 256 activations into columns of halfs, hi and lo, and the sums of their groups likewise, scaled by a power of
/// two so that the largest lies in [2^9, 2^10): a sum of 32 is a half too. Returns the inverse scale. Without kSplit
/// they are rounded, to hi alone, where both parts of the sums of what they become lie.
template <class U, bool kSplit = true>
__device__ __forceinline__ float split_activations(const Granule& granule, std::uint8_t* hi, std::uint8_t* lo,
                                                   int lane) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = granule.v[i];
  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = max(largest, __float_as_uint(v[i]) & 0x7fffffffu);
  const std::uint32_t exponent = max(__reduce_max_sync(0xffffffffu, largest) >> 23, 10u);
  const float scale = __uint_as_float((263 - exponent) << 23);
  std::uint32_t high[4], low[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // Pieces of four: values 0 and 1, then 2 and 3, or as kSwap has them.
    const int one = 4 * (i / 2) + (U::kSwap ? i % 2 : 2 * (i % 2)), two = one + (U::kSwap ? 2 : 1);
    // Only Order::Runs has a kHighFrom: piece i / 2 begins at 32 (lane / 4) + 16 (i / 2) + 4 (lane % 4).
    const bool sixteenth = U::kHighFrom != 0 && ((32 * (lane / 4) + i / 2 * 16) & U::kHighFrom) != 0;
    const float unit = sixteenth ? 0.0625f * scale : scale, a = v[one] * unit, b = v[two] * unit;
    high[i] = round_pair<U::kBrainFloat>(a, b);
    const float2 rounded = values_of<U::kBrainFloat>(high[i]);
    if constexpr (kSplit) {
      low[i] = round_pair<U::kBrainFloat>(a - rounded.x, b - rounded.y);
      v[one] = a, v[two] = b;
    } else {
      v[one] = rounded.x, v[two] = rounded.y;
    }
  }
  if constexpr (U::kGroups == 16) {
    static_assert(U::kOrder == Order::Runs);
    // Of both of a lane's pieces; four lanes have a run of each.
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float sum = (v[4 * i] + v[4 * i + 1]) + (v[4 * i + 2] + v[4 * i + 3]);
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (lane % 4 == 0) write_sum<U, kSplit>(hi, lo, 2 * (lane / 4) + i, sum);
    }
  } else if constexpr (U::kGroups == 8) {
    float sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (lane % 4 == 0) write_sum<U, kSplit>(hi, lo, lane / 4, sum);
  }
  static_assert(U::kGroups == 0 || U::kHighFrom == 0);
  const int place = 16 * (U::kOrder == Order::Pairs ? lane + lane / 8 : lane);
  *reinterpret_cast<uint4*>(hi + place) = make_uint4(high[0], high[1], high[2], high[3]);
  if constexpr (kSplit) *reinterpret_cast<uint4*>(lo + place) = make_uint4(low[0], low[1], low[2], low[3]);
  return __uint_as_float((exponent - 9) << 23);
}

/// Splits `count` units, of which place(i) tells {from, hi, lo, factor}. `from` may be null: nothing to do. kCopies
/// lanes write the factor, next to each other.
template <class U, int kCopies, bool kSplit = true, class Place>
__device__ __forceinline__ void split_units(std::uint32_t first, std::uint32_t step, std::uint32_t count, int lane,
                                            const Place& place) {
  constexpr std::uint32_t kAtOnce = 4;  // for the loads take long
  for (std::uint32_t at = first; at < count; at += kAtOnce * step) {
    Granule granules[kAtOnce] = {};
#pragma unroll
    for (std::uint32_t j = 0; j < kAtOnce; ++j)
      if (at + j * step < count)
        if (const float* const from = place(at + j * step).from) granules[j] = load_granule<U>(from, lane);
#pragma unroll
    for (std::uint32_t j = 0; j < kAtOnce; ++j) {
      if (at + j * step >= count) break;
      const auto to = place(at + j * step);
      const float factor = split_activations<U, kSplit>(granules[j], to.hi, to.lo, lane);
      if (lane < kCopies) to.factor[lane] = factor;
    }
  }
}

struct UnitPlace {
  const float* from;
  std::uint8_t *hi, *lo;
  float* factor;
};

}  // namespace mlx_native::cuda
