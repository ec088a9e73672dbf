// How rows of x become PackedX.
#pragma once

#include "core/dialect.h"
#include "cuda/tensor/halfs.cuh"

namespace mlx_native::cuda {

constexpr uint32_t kHeldRuns = 2;  // of 16 values, that stay in a thread's registers

/// What is packed as run `run`: four values from each of four places, span / 4 values apart; zeros behind the end.
template <bool kAligned>
__device__ void load_run(const float* row, uint32_t run, uint32_t k, uint32_t span, float (&v)[16]) {
  const uint32_t runs = span / 16, first = run / runs * span + 4 * (run % runs);
#pragma unroll
  for (uint32_t t = 0; t < 4; ++t) {
    const uint32_t at = first + t * (span / 4);
    if (kAligned && at + 4 <= k) {
      const float4 four = *reinterpret_cast<const float4*>(row + at);
      v[4 * t] = four.x, v[4 * t + 1] = four.y, v[4 * t + 2] = four.z, v[4 * t + 3] = four.w;
    } else {
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) v[4 * t + i] = at + i < k ? row[at + i] : 0.0f;
    }
  }
}

/// Until all threads of a team are here. With a name that is known at run time only, a group would hold all 16
/// barriers, and a multiprocessor has 64.
template <int kThreads, int kTeamsOfGroup>
__device__ __forceinline__ void await_team() {
  if constexpr (kTeamsOfGroup == 1) return __syncthreads();
  asm volatile("bar.sync %0, %1;" ::"r"(1 + threadIdx.x / kThreads), "n"(kThreads) : "memory");
}

/// Of a row of x, what all of its values are multiplied by, and how they are written.
template <bool kFull>
struct RowPacker {
  static constexpr int kParts = kFull ? 2 : 1;

  const PackedX& packed;
  uint32_t runs = packed.k_tiles * 4;
  float factor = 0, unit = 0;

  static __device__ __forceinline__ void look(const float (&v)[16], float& most) {
#pragma unroll
    for (const float value : v) most = fmaxf(most, fabsf(value));
  }
  __device__ __forceinline__ void set_unit(float most) {
    // Beyond 2^100 and 2^-100 nothing is gained, and the reciprocal stays normal. Infinity and NaN go through as they
    // are.
    const int exponent = min(max(int(__float_as_uint(most) >> 23) - 127, -100), 100);
    factor = __uint_as_float(uint32_t(127 + 12 - exponent) << 23);
    unit = __uint_as_float(uint32_t(127 - 12 + exponent) << 23) / kWeightUnit;
  }

  /// Pairs of lanes have neighbouring runs: together they write 32 bytes at once, which memory does not have to merge.
  /// Called by whole warps.
  template <class RowOf>
  __device__ void store_run(uint32_t run, const float (&v)[16], uint32_t copies, const RowOf& row_of) const {
    const uint32_t second = threadIdx.x % 2;
    uint4 pieces[kParts][2];  // piece `second` of the pair's first run, and of its other one
    uint32_t words[2][kParts][4];
#pragma unroll
    for (int piece = 0; piece < 2; ++piece) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float a = v[4 * j + piece] * factor, b = v[4 * j + piece + 2] * factor;
        words[piece][0][j] = rounded_pair(a, b);
        if constexpr (kFull) words[piece][1][j] = second_pair(a, b, words[piece][0][j]);
      }
    }
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      uint32_t own[4], other[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        own[j] = second ? words[1][part][j] : words[0][part][j];
        other[j] = __shfl_xor_sync(~0u, second ? words[0][part][j] : words[1][part][j], 1);
      }
      const uint4 mine = make_uint4(own[0], own[1], own[2], own[3]);
      const uint4 others = make_uint4(other[0], other[1], other[2], other[3]);
      pieces[part][0] = second ? others : mine;
      pieces[part][1] = second ? mine : others;
    }
    uint32_t sum = 0;
    if constexpr (kFull)
      if (packed.sums) sum = sum_of(run, v);
    if (run >= runs) return;
    for (uint32_t copy = 0; copy < copies; ++copy) {
      const uint32_t row = row_of(copy);
      if (row == kNoRow) continue;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        uint8_t* const to = (part ? packed.low : packed.high) + (uint64_t(run / 4) * packed.rows + row) * kTileRowBytes;
        const uint32_t place = (run - second) % 4 * 2 + second;
        *reinterpret_cast<uint4*>(to + 16 * (place ^ (row % 8))) = pieces[part][0];
        *reinterpret_cast<uint4*>(to + 16 * ((place + 2) ^ (row % 8))) = pieces[part][1];
      }
      if constexpr (kFull)
        if (packed.sums && run % 8 < 4) store_sum(row, run, sum);
    }
  }

 private:
  /// The second part of a and b, where the first is `high`.
  __device__ uint32_t second_pair(float a, float b, uint32_t high) const {
    if (!packed.blended) return lost_pair(a, b, high);
    const float2 rounded = __half22float2(pair_of(high));
    return rounded_pair(fmaf(kBlend, a - rounded.x, a), fmaf(kBlend, b - rounded.y, b));
  }
  /// The sum of the group of 32 that is this lane's to write (PackedX::sums), as two halfs: of run % 8 < 4, of which
  /// group run % 8 of the four whose runs eight lanes have, a quarter of the span apart. Called by whole warps.
  __device__ uint32_t sum_of(uint32_t run, const float (&v)[16]) const {
    uint32_t own = 0;
#pragma unroll
    for (uint32_t t = 0; t < 4; ++t) {
      float sum = (v[4 * t] + v[4 * t + 1]) + (v[4 * t + 2] + v[4 * t + 3]);
#pragma unroll
      for (uint32_t apart = 1; apart < 8; apart *= 2) sum += __shfl_xor_sync(~0u, sum, apart);
      sum *= factor * kSumUnit;
      const __half high = __float2half_rn(sum), low = __float2half_rn(sum - __half2float(high));
      if (run % 8 == t) own = bits_of(__halves2half2(high, low));
    }
    return own;
  }
  __device__ void store_sum(uint32_t row, uint32_t run, uint32_t sum) const {
    __half* const to = reinterpret_cast<__half*>(packed.sums + (uint64_t(run / 16) * packed.rows + row) * kSumBytes);
    const uint32_t group = run % 8 * 2 + run / 8 % 2, second = row / 4 % 2;
    to[8 * second + group] = __low2half(pair_of(sum));
    to[8 * (second ^ 1) + group] = __high2half(pair_of(sum));
  }
};

/// A row of x in the hands of a team.
template <bool kFull, bool kAligned, int kThreads, int kTeamsOfGroup = 1>
struct RowOfX : RowPacker<kFull> {
  using Packer = RowPacker<kFull>;
  using Packer::packed, Packer::runs, Packer::store_run;
  const float* x;
  uint32_t k;
  uint32_t thread = threadIdx.x % kThreads;
  float held[kHeldRuns][16];

  __device__ RowOfX(const PackedX& packed_x, const float* row, uint32_t values) : Packer{packed_x}, x(row), k(values) {}

  __device__ void load() {
#pragma unroll
    for (uint32_t j = 0; j < kHeldRuns; ++j) load_run<kAligned>(x, thread + j * kThreads, k, packed.span, held[j]);
  }

  /// `largest`: a word of shared memory for each of the team's warps.
  __device__ void find_unit(float* largest) {
    float most = 0.0f;
#pragma unroll
    for (uint32_t j = 0; j < kHeldRuns; ++j) this->look(held[j], most);
    for (uint32_t run = thread + kHeldRuns * kThreads; run < runs; run += kThreads) {
      float v[16];
      load_run<kAligned>(x, run, k, packed.span, v);
      this->look(v, most);
    }
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
    await_team<kThreads, kTeamsOfGroup>();
    if (thread % 32 == 0) largest[thread / 32] = most;
    await_team<kThreads, kTeamsOfGroup>();
#pragma unroll
    for (int i = 0; i < kThreads / 32; ++i) most = fmaxf(most, largest[i]);
    this->set_unit(most);
  }

  /// Writes all of it as each of `copies` rows; row_of may be kNoRow.
  template <class RowOf>
  __device__ void store(uint32_t copies, const RowOf& row_of) const {
#pragma unroll
    for (uint32_t j = 0; j < kHeldRuns; ++j)
      if (thread / 32 * 32 + j * kThreads < runs) store_run(thread + j * kThreads, held[j], copies, row_of);
    const uint32_t whole_warps = (runs + 31) / 32 * 32;
    for (uint32_t run = thread + kHeldRuns * kThreads; run < whole_warps; run += kThreads) {
      float v[16];
      load_run<kAligned>(x, run, k, packed.span, v);
      store_run(run, v, copies, row_of);
    }
  }
};

}  // namespace mlx_native::cuda
