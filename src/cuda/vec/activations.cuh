// Activations on their way into shared memory, in the form that units (cuda/vec/units.cuh) take them.
#pragma once

#include "cuda/vec/units.cuh"

namespace mlx_native::cuda {

/// A lane's 8 of 256 activations: a granule of Unit U's order.
struct Granule {
  float v[8];
};

template <class U>
__device__ __forceinline__ Granule load_granule(const float* x, int lane) {
  const int first = U::kOrder == Order::Runs ? 32 * (lane / 4) + 4 * (lane % 4) : 8 * lane;
  const int second = U::kOrder == Order::Runs ? first + 16 : first + 4;
  if (reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
    const float4 a = *reinterpret_cast<const float4*>(x + first), b = *reinterpret_cast<const float4*>(x + second);
    return {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
  }
  Granule granule;
#pragma unroll
  for (int i = 0; i < 4; ++i) granule.v[i] = x[first + i], granule.v[4 + i] = x[second + i];
  return granule;
}

template <bool kBrainFloat>
__device__ __forceinline__ std::uint32_t round_to_half(float value) {
  if constexpr (kBrainFloat)
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  else
    return float_to_half(value);
}
template <bool kBrainFloat>
__device__ __forceinline__ float value_of_half(std::uint32_t bits) {
  return kBrainFloat ? bfloat_to_float(std::uint16_t(bits)) : half_to_float(std::uint16_t(bits));
}

/// Splits 256 activations into columns of halfs, hi and lo, and the sums of their groups likewise, scaled by a power of
/// two so that the largest lies in [2^9, 2^10): a sum of 32 is a half too. Returns the inverse scale.
template <class U>
__device__ __forceinline__ float split_activations(Granule granule, std::uint8_t* hi, std::uint8_t* lo, int lane) {
  float(&v)[8] = granule.v;
  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = max(largest, __float_as_uint(v[i]) & 0x7fffffffu);
  const std::uint32_t exponent = max(__reduce_max_sync(0xffffffffu, largest) >> 23, 10u);
  const float scale = __uint_as_float((263 - exponent) << 23);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] *= scale;
  if constexpr (U::kGroups == 8) {
    float sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (lane % 4 == 0) {
      const std::uint16_t h = float_to_half(sum);
      *reinterpret_cast<std::uint16_t*>(hi + U::kSumsAt + lane / 2) = h;
      *reinterpret_cast<std::uint16_t*>(lo + U::kSumsAt + lane / 2) = float_to_half(sum - half_to_float(h));
    }
  }
  std::uint32_t high[8], low[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    // Only Order::Runs has a kHighFrom: piece i / 4 begins at 32 (lane / 4) + 16 (i / 4) + 4 (lane % 4).
    const bool sixteenth = U::kHighFrom != 0 && ((32 * (lane / 4) + i / 4 * 16) & U::kHighFrom) != 0;
    const float value = sixteenth ? v[i] * 0.0625f : v[i];
    high[i] = round_to_half<U::kBrainFloat>(value);
    low[i] = round_to_half<U::kBrainFloat>(value - value_of_half<U::kBrainFloat>(high[i]));
  }
  const auto pack = [](const std::uint32_t(&h)[8]) {
    constexpr int kOne = U::kSwap ? 2 : 1, kTwo = U::kSwap ? 1 : 2;
    return make_uint4(h[0] | h[kOne] << 16, h[kTwo] | h[3] << 16, h[4] | h[4 + kOne] << 16, h[4 + kTwo] | h[7] << 16);
  };
  const int place = 16 * (U::kOrder == Order::Pairs ? lane + lane / 8 : lane);
  *reinterpret_cast<uint4*>(hi + place) = pack(high);
  *reinterpret_cast<uint4*>(lo + place) = pack(low);
  return __uint_as_float((exponent - 9) << 23);
}

/// Splits `count` units, of which place(i) tells {from, hi, lo, factor}. `from` may be null: nothing to do. kCopies
/// lanes write the factor, next to each other.
template <class U, int kCopies, class Place>
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
      const float factor = split_activations<U>(granules[j], to.hi, to.lo, lane);
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
