// Makes a SplitCache of an F32 cache.
#pragma once

#include <cuda_fp16.h>

#include "cuda/attention/split_cache.h"
#include "cuda/order.cuh"
#include "gpu/kernels/attention.h"

namespace mlx_native::cuda {

struct FlashArgs {
  AttentionArgs attention;
  SplitCache cache;  // of an F16 cache: k_high and v_high are the cache
};

__device__ __forceinline__ std::uint32_t pack_halfs(float x, float y) {
  const __half2 pair = __floats2half2_rn(x, y);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}
/// x and y as two halfs each.
__device__ __forceinline__ void split_pair(float x, float y, std::uint32_t& high, std::uint32_t& low) {
  const __half2 h = __floats2half2_rn(x, y);
  const float2 back = __half22float2(h);
  high = *reinterpret_cast<const std::uint32_t*>(&h);
  low = pack_halfs(x - back.x, y - back.y);
}
/// The power of two that brings the largest magnitude to [2^12, 2^13), where one exists.
__device__ __forceinline__ float scale_of(float largest) {
  const int exponent = int(__float_as_uint(largest) >> 23 & 255u);
  return __uint_as_float(std::uint32_t(266 - min(max(exponent, 13), 254)) << 23);
}
__device__ __forceinline__ float inverse_of_power(float x) { return __uint_as_float(0x7f000000u - __float_as_uint(x)); }

/// The first position that any query sees, or one behind the last.
__device__ __forceinline__ std::uint64_t first_seen(const AttentionArgs& a, std::uint64_t position) {
  const std::uint64_t last = a.positions[a.n_tokens - 1], kept = last >= a.kv_capacity ? last - a.kv_capacity + 1 : 0;
  return max(gpu::visible(a, position).begin, kept);
}

/// A row of the cache per warp, first all of the keys, then all of the values.
static __global__ void __launch_bounds__(256) split_cache_kernel(const __grid_constant__ FlashArgs p) {
  allow_next();
  await_previous();
  const AttentionArgs& a = p.attention;
  const std::uint64_t begin = first_seen(a, a.positions[0]);
  const std::uint64_t length = std::uint64_t{a.positions[a.n_tokens - 1]} + 1 - begin;
  const gpu::Ring ring = {begin, begin % a.kv_capacity, a.kv_capacity};
  const int lane = int(threadIdx.x % 32), at = 4 * lane;
  const std::uint64_t rows = length * a.n_kv_heads;
  for (std::uint64_t i = blockIdx.x * 8 + threadIdx.x / 32; i < 2 * rows; i += gridDim.x * 8) {
    const bool is_value = i >= rows;
    const std::uint64_t head = (is_value ? i - rows : i) / length, rel = (is_value ? i - rows : i) - head * length;
    const std::uint64_t row = head * a.kv_capacity + ring.slot(begin + rel);
    const float* const from = reinterpret_cast<const float*>(is_value ? a.v_cache : a.k_cache) + row * a.head_dim;
    const bool mine = at < int(a.head_dim);
    float4 x = mine ? *reinterpret_cast<const float4*>(from + at) : make_float4(0, 0, 0, 0);
    std::uint32_t largest = 0;
    for (const float v : {x.x, x.y, x.z, x.w}) largest = max(largest, __float_as_uint(v) & 0x7fffffffu);
    largest = __reduce_max_sync(0xffffffffu, largest);
    const bool finite = largest < 0x7f800000u;
    float scale = scale_of(__uint_as_float(largest)), factor = inverse_of_power(scale);
    if (is_value && !finite) scale = 0, x = make_float4(0, 0, 0, 0), factor = __uint_as_float(0x7fc00000u);
    uint2 high, low;
    split_pair(x.x * scale, x.y * scale, high.x, low.x);
    split_pair(x.z * scale, x.w * scale, high.y, low.y);
    if (mine) {
      *reinterpret_cast<uint2*>((is_value ? p.cache.v_high : p.cache.k_high) + row * a.head_dim + at) = high;
      *reinterpret_cast<uint2*>((is_value ? p.cache.v_low : p.cache.k_low) + row * a.head_dim + at) = low;
    }
    if (lane == 0) (is_value ? p.cache.v_factor : p.cache.k_factor)[row] = factor;
  }
}

}  // namespace mlx_native::cuda
