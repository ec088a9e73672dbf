#include <utility>

#include "core/dialect.h"
#include "cuda/order.cuh"
#include "cuda/tensor/halfs.cuh"
#include "cuda/tensor/prepare.h"

namespace mlx_native::cuda {

namespace {

constexpr int kRouteThreads = 1024, kPackThreads = 128;

/// Exclusive sums over the threads of a group of kRouteThreads, and the total. `warps`: 32 words of shared memory.
__device__ uint32_t scan(uint32_t value, uint32_t* warps, uint32_t* total) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t sum = value;
#pragma unroll
  for (uint32_t apart = 1; apart < 32; apart *= 2) {
    const uint32_t below = __shfl_up_sync(~0u, sum, apart);
    if (lane >= apart) sum += below;
  }
  __syncthreads();
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  uint32_t before = 0, all = 0;
  for (uint32_t i = 0; i < kRouteThreads / 32; ++i) {
    if (i < warp) before += warps[i];
    all += warps[i];
  }
  *total = all;
  return before + sum - value;
}

struct RouteArgs {
  MatmulIdArgs problem;
  Routing routing;
  uint32_t tile_rows;
};

/// One group. Within an expert the order of rows is any: a row's result does not depend on its place.
__global__ void __launch_bounds__(kRouteThreads) route_kernel(const RouteArgs args) {
  const MatmulIdArgs& a = args.problem;
  const Routing& r = args.routing;
  const uint32_t tile_rows = args.tile_rows;
  extern __shared__ uint32_t counts[];  // of each expert
  __shared__ uint32_t warps[32];
  allow_next();
  const uint32_t slots = a.n_tokens * a.top_k;
  for (uint32_t e = threadIdx.x; e < a.n_experts; e += kRouteThreads) counts[e] = 0;
  __syncthreads();
  constexpr uint32_t kAtOnce = 8;  // loads under way
  for (uint32_t first = threadIdx.x; first < slots; first += kAtOnce * kRouteThreads) {
    uint32_t expert[kAtOnce];
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i) {
      const uint32_t s = first + i * kRouteThreads;
      expert[i] = s < slots ? a.ids[s] : a.n_experts;
    }
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i)
      if (expert[i] < a.n_experts) r.rank_of[first + i * kRouteThreads] = atomicAdd(&counts[expert[i]], 1u);
  }
  uint32_t rows_before = 0, tiles_before = 0;
  for (uint32_t first = 0; first < a.n_experts; first += kRouteThreads) {
    __syncthreads();
    const uint32_t e = first + threadIdx.x, count = e < a.n_experts ? counts[e] : 0;
    uint32_t rows, tiles;
    const uint32_t row = rows_before + scan((count + 7) / 8 * 8, warps, &rows);
    const uint32_t tile = tiles_before + scan((count + tile_rows - 1) / tile_rows, warps, &tiles);
    if (e < a.n_experts) r.first_row[e] = row;
    for (uint32_t i = 0; i * tile_rows < count; ++i)
      r.tiles[tile + i] = {e, row + i * tile_rows, min(tile_rows, count - i * tile_rows)};
    rows_before += rows;
    tiles_before += tiles;
  }
  if (threadIdx.x == 0) *r.n_tiles = tiles_before;
}

struct PackArgs {
  const float* x;
  const uint32_t* ids;  // null: row i of x becomes row i
  Routing routing;
  float* output;
  uint32_t rows, copies, k, n, n_experts;
  PackedX packed;
};

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

/// Writes run `run` of row `row`, if wanted. Pairs of lanes have neighbouring runs: together they write 32 bytes at
/// once, which memory does not have to merge. Called by whole warps.
template <bool kFull>
__device__ void store_run(const PackedX& packed, bool wanted, uint32_t row, uint32_t run,
                          const uint32_t (&words)[2][kFull ? 2 : 1][4]) {
  const uint32_t second = threadIdx.x % 2;
#pragma unroll
  for (int part = 0; part < (kFull ? 2 : 1); ++part) {
    uint32_t own[4], other[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      own[j] = second ? words[1][part][j] : words[0][part][j];
      other[j] = __shfl_xor_sync(~0u, second ? words[0][part][j] : words[1][part][j], 1);
    }
    if (!wanted) continue;
    const uint32_t first_run = run - second;
    uint8_t* const start = (part ? packed.low : packed.high) + (uint64_t(run / 4) * packed.rows + row) * kTileRowBytes;
    const auto piece = [&](uint32_t r) {
      return reinterpret_cast<uint4*>(start + 16 * ((r % 4 * 2 + second) ^ (row % 8)));
    };
    *piece(first_run) =
        second ? make_uint4(other[0], other[1], other[2], other[3]) : make_uint4(own[0], own[1], own[2], own[3]);
    *piece(first_run + 1) =
        second ? make_uint4(own[0], own[1], own[2], own[3]) : make_uint4(other[0], other[1], other[2], other[3]);
  }
}

/// Writes the sums (PackedX::sums) of the groups of 32 that run `run` of row `row` is a part of, if wanted. Eight lanes
/// have the runs of four groups, a quarter of the span apart. Called by whole warps.
__device__ void store_sums(const PackedX& packed, bool wanted, uint32_t row, uint32_t run, const float (&v)[16],
                           float factor) {
#pragma unroll
  for (uint32_t t = 0; t < 4; ++t) {
    float sum = (v[4 * t] + v[4 * t + 1]) + (v[4 * t + 2] + v[4 * t + 3]);
#pragma unroll
    for (uint32_t apart = 1; apart < 8; apart *= 2) sum += __shfl_xor_sync(~0u, sum, apart);
    sum *= factor * kSumUnit;
    const __half high = __float2half_rn(sum), low = __float2half_rn(sum - __half2float(high));
    if (!wanted || run % 8 != t) continue;
    __half* const to = reinterpret_cast<__half*>(packed.sums + (uint64_t(run / 16) * packed.rows + row) * kSumBytes);
    const uint32_t group = 2 * t + run / 8 % 2, second = row / 4 % 2;
    to[8 * second + group] = high;
    to[8 * (second ^ 1) + group] = low;
  }
}

/// A group per row of x.
template <bool kFull, bool kAligned>
__global__ void __launch_bounds__(kPackThreads) pack_kernel(const PackArgs a) {
  __shared__ float largest[kPackThreads / 32];
  if (!a.ids) allow_next();
  const uint32_t runs = a.packed.k_tiles * 4, padded = (runs + 31) / 32 * 32;
  for (uint32_t i = blockIdx.x; i < a.rows; i += gridDim.x) {
    const float* const x = a.x + uint64_t(i) * a.k;
    constexpr uint32_t kHeld = 2;  // runs that stay in registers
    float held[kHeld][16], most = 0.0f;
    const auto look = [&](const float(&v)[16]) {
#pragma unroll
      for (const float value : v) most = fmaxf(most, fabsf(value));
    };
#pragma unroll
    for (uint32_t j = 0; j < kHeld; ++j)
      load_run<kAligned>(x, threadIdx.x + j * kPackThreads, a.k, a.packed.span, held[j]);
#pragma unroll
    for (uint32_t j = 0; j < kHeld; ++j) look(held[j]);
    for (uint32_t run = threadIdx.x + kHeld * kPackThreads; run < runs; run += kPackThreads) {
      float v[16];
      load_run<kAligned>(x, run, a.k, a.packed.span, v);
      look(v);
    }
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
    __syncthreads();
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
    __syncthreads();
#pragma unroll
    for (const float other : largest) most = fmaxf(most, other);
    // Beyond 2^100 and 2^-100 nothing is gained, and the reciprocal stays normal. Infinity and NaN go through as they
    // are.
    const int exponent = min(max(int(__float_as_uint(most) >> 23) - 127, -100), 100);
    const float factor = __uint_as_float(uint32_t(127 + 12 - exponent) << 23);
    const float unit = __uint_as_float(uint32_t(127 - 12 + exponent) << 23) / kWeightUnit;
    if (a.ids) {
      await_previous();
      allow_next();
    }
    const auto row_of = [&](uint32_t slot) {
      if (!a.ids) return slot;
      const uint32_t expert = a.ids[slot];
      return expert < a.n_experts ? a.routing.first_row[expert] + a.routing.rank_of[slot] : kNoRow;
    };
    for (uint32_t copy = 0; copy < a.copies; ++copy) {
      const uint32_t slot = i * a.copies + copy, row = row_of(slot);
      if (row == kNoRow) {
        for (uint32_t j = threadIdx.x; j < a.n; j += kPackThreads)
          a.output[uint64_t(slot) * a.n + j] = __uint_as_float(0x7fc00000u);
      } else if (threadIdx.x == 0) {
        a.packed.unit[row] = unit;
        if (a.ids) a.routing.slot_of[row] = slot;
      }
    }
    const auto store = [&](uint32_t run, const float(&v)[16]) {
      uint32_t words[2][kFull ? 2 : 1][4];
#pragma unroll
      for (int piece = 0; piece < 2; ++piece) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float first = v[4 * j + piece] * factor, second = v[4 * j + piece + 2] * factor;
          words[piece][0][j] = rounded_pair(first, second);
          if constexpr (kFull) words[piece][1][j] = lost_pair(first, second, words[piece][0][j]);
        }
      }
      for (uint32_t copy = 0; copy < a.copies; ++copy) {
        const uint32_t row = row_of(i * a.copies + copy);
        if (row == kNoRow) continue;
        store_run<kFull>(a.packed, run < runs, row, run, words);
        if (kFull && a.packed.sums) store_sums(a.packed, run < runs, row, run, v, factor);
      }
    };
#pragma unroll
    for (uint32_t j = 0; j < kHeld; ++j)
      if (threadIdx.x / 32 * 32 + j * kPackThreads < runs) store(threadIdx.x + j * kPackThreads, held[j]);
    for (uint32_t run = threadIdx.x + kHeld * kPackThreads; run < padded; run += kPackThreads) {
      float v[16];
      load_run<kAligned>(x, run, a.k, a.packed.span, v);
      store(run, v);
    }
  }
}

template <class Args>
void start(Launch& on, void (*kernel)(Args), const Grid& grid, const std::type_identity_t<Args>& args,
           bool overlap = false) {
  on.start(reinterpret_cast<const void*>(kernel), grid, &args, overlap);
}

void start_pack(Launch& on, const PackArgs& a) {
  const bool aligned = reinterpret_cast<uintptr_t>(a.x) % 16 == 0 && a.k % 4 == 0;
  const auto kernel = a.packed.low ? aligned ? pack_kernel<true, true> : pack_kernel<true, false>
                      : aligned ? pack_kernel<false, true>
                                   : pack_kernel<false, false>;
  // Beside route_kernel, whose end alone it waits for.
  const bool may_overlap = std::exchange(on.may_overlap, true);
  start(on, kernel, {std::min(a.rows, 1u << 20), kPackThreads}, a, a.ids != nullptr);
  on.may_overlap = may_overlap;
}

__global__ void __launch_bounds__(256) add_parts_kernel(const MatMatProblem p) {
  const uint64_t all = uint64_t(p.m) * p.n, step = uint64_t(gridDim.x) * 256;
  for (uint64_t i = uint64_t(blockIdx.x) * 256 + threadIdx.x; i < all; i += step) {
    float sum = p.partial[i];
    for (uint32_t part = 1; part < p.parts; ++part) sum += p.partial[part * all + i];
    p.output[i] = sum;
  }
}

}  // namespace

void add_parts(Launch& on, const MatMatProblem& problem) {
  const uint64_t groups = (uint64_t(problem.m) * problem.n + 255) / 256;
  start(on, add_parts_kernel, {uint32_t(std::min<uint64_t>(groups, 4096)), 256}, problem);
}

void route(Launch& on, const MatmulIdArgs& args, const Routing& routing, std::uint32_t tile_rows) {
  start(on, route_kernel, {1, kRouteThreads, args.n_experts * sizeof(uint32_t)}, {args, routing, tile_rows});
}

void pack(Launch& on, const float* x, std::uint32_t rows, std::uint32_t k, const PackedX& packed) {
  start_pack(on, {x, nullptr, {}, nullptr, rows, 1, k, 0, 0, packed});
}

void pack_routed(Launch& on, const MatmulIdArgs& args, const Routing& routing, const PackedX& packed) {
  start_pack(on, {args.input, args.ids, routing, args.output, args.n_tokens, args.top_k, args.k, args.n, args.n_experts,
                  packed});
}

}  // namespace mlx_native::cuda
