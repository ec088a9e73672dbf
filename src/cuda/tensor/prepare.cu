#include "core/dialect.h"
#include "cuda/order.cuh"
#include "cuda/tensor/halfs.cuh"
#include "cuda/tensor/prepare.h"

namespace mlx_native::cuda {

namespace {

constexpr int kRouteThreads = 1024, kPackThreads = 256;

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
  extern __shared__ uint32_t counts[];  // of each expert, then its next free row
  __shared__ uint32_t warps[32];
  const uint32_t slots = a.n_tokens * a.top_k;
  for (uint32_t e = threadIdx.x; e < a.n_experts; e += kRouteThreads) counts[e] = 0;
  __syncthreads();
  for (uint32_t s = threadIdx.x; s < slots; s += kRouteThreads) {
    const uint32_t e = a.ids[s];
    if (e < a.n_experts) atomicAdd(&counts[e], 1u);
  }
  uint32_t rows_before = 0, tiles_before = 0;
  for (uint32_t first = 0; first < a.n_experts; first += kRouteThreads) {
    __syncthreads();
    const uint32_t e = first + threadIdx.x, count = e < a.n_experts ? counts[e] : 0;
    uint32_t rows, tiles;
    const uint32_t row = rows_before + scan((count + 7) / 8 * 8, warps, &rows);
    const uint32_t tile = tiles_before + scan((count + tile_rows - 1) / tile_rows, warps, &tiles);
    if (e < a.n_experts) counts[e] = row;
    for (uint32_t i = 0; i * tile_rows < count; ++i)
      r.tiles[tile + i] = {e, row + i * tile_rows, min(tile_rows, count - i * tile_rows)};
    rows_before += rows;
    tiles_before += tiles;
  }
  if (threadIdx.x == 0) *r.n_tiles = tiles_before;
  __syncthreads();
  for (uint32_t s = threadIdx.x; s < slots; s += kRouteThreads) {
    const uint32_t e = a.ids[s];
    const uint32_t row = e < a.n_experts ? atomicAdd(&counts[e], 1u) : kNoRow;
    r.row_of[s] = row;
    if (row != kNoRow) r.slot_of[row] = s;
  }
}

struct PackArgs {
  const float* x;
  const uint32_t* row_of;  // null: row i of x becomes row i
  float* output;
  uint32_t rows, copies, k, n;
  PackedX packed;
};

/// Values 16 * run to 16 * run + 15; zeros behind the end.
template <bool kAligned>
__device__ void load_run(const float* row, uint32_t run, uint32_t k, float (&v)[16]) {
  if (kAligned && 16 * run + 16 <= k) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const float4 four = reinterpret_cast<const float4*>(row)[4 * run + i];
      v[4 * i] = four.x, v[4 * i + 1] = four.y, v[4 * i + 2] = four.z, v[4 * i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (uint32_t i = 0; i < 16; ++i) v[i] = 16 * run + i < k ? row[16 * run + i] : 0.0f;
  }
}

/// A group per row of x.
template <bool kFull, bool kAligned>
__global__ void __launch_bounds__(kPackThreads) pack_kernel(const PackArgs a) {
  __shared__ float largest[kPackThreads / 32];
  allow_next();
  const uint32_t runs = a.packed.k_tiles * 4;
  for (uint32_t i = blockIdx.x; i < a.rows; i += gridDim.x) {
    const float* const x = a.x + uint64_t(i) * a.k;
    float most = 0.0f, v[16];
    for (uint32_t run = threadIdx.x; run < runs; run += kPackThreads) {
      load_run<kAligned>(x, run, a.k, v);
#pragma unroll
      for (const float value : v) most = fmaxf(most, fabsf(value));
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
    for (uint32_t copy = 0; copy < a.copies; ++copy) {
      const uint32_t slot = i * a.copies + copy, row = a.row_of ? a.row_of[slot] : i;
      if (row == kNoRow)
        for (uint32_t j = threadIdx.x; j < a.n; j += kPackThreads)
          a.output[uint64_t(slot) * a.n + j] = __uint_as_float(0x7fc00000u);
      else if (threadIdx.x == 0)
        a.packed.unit[row] = unit;
    }
    for (uint32_t run = threadIdx.x; run < runs; run += kPackThreads) {
      load_run<kAligned>(x, run, a.k, v);
      uint4 high[2], low[2];
#pragma unroll
      for (int piece = 0; piece < 2; ++piece) {
        uint32_t h[4], l[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float first = v[4 * j + 2 * piece] * factor, second = v[4 * j + 2 * piece + 1] * factor;
          h[j] = rounded_pair(first, second);
          l[j] = kFull ? lost_pair(first, second, h[j]) : 0;
        }
        high[piece] = make_uint4(h[0], h[1], h[2], h[3]), low[piece] = make_uint4(l[0], l[1], l[2], l[3]);
      }
      for (uint32_t copy = 0; copy < a.copies; ++copy) {
        const uint32_t row = a.row_of ? a.row_of[i * a.copies + copy] : i;
        if (row == kNoRow) continue;
        const uint64_t start = (uint64_t(run / 4) * a.packed.rows + row) * kTileRowBytes;
#pragma unroll
        for (uint32_t piece = 0; piece < 2; ++piece) {
          const uint64_t place = start + 16 * ((run % 4 * 2 + piece) ^ (row % 8));
          *reinterpret_cast<uint4*>(a.packed.high + place) = high[piece];
          if constexpr (kFull) *reinterpret_cast<uint4*>(a.packed.low + place) = low[piece];
        }
      }
    }
  }
}

template <class Args>
void start(Launch& on, void (*kernel)(Args), const Grid& grid, const std::type_identity_t<Args>& args) {
  on.start(reinterpret_cast<const void*>(kernel), grid, &args, false);
}

void start_pack(Launch& on, const PackArgs& a) {
  const bool aligned = reinterpret_cast<uintptr_t>(a.x) % 16 == 0 && a.k % 4 == 0;
  const Grid grid{std::min(a.rows, 1u << 20), kPackThreads};
  if (a.packed.low)
    aligned ? start(on, pack_kernel<true, true>, grid, a) : start(on, pack_kernel<true, false>, grid, a);
  else
    aligned ? start(on, pack_kernel<false, true>, grid, a) : start(on, pack_kernel<false, false>, grid, a);
}

__global__ void __launch_bounds__(256) add_parts_kernel(const MatMatProblem p) {
  const uint64_t all = uint64_t(p.m) * p.n, step = uint64_t(gridDim.x) * 256;
  for (uint64_t i = uint64_t(blockIdx.x) * 256 + threadIdx.x; i < all; i += step) {
    float sum = p.partial[i];
    for (uint32_t part = 1; part < p.parts; ++part) sum += p.partial[part * all + i];
    p.output[i] = p.x.unit[i / p.n] * sum;
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
  start_pack(on, {x, nullptr, nullptr, rows, 1, k, 0, packed});
}

void pack_routed(Launch& on, const MatmulIdArgs& args, const Routing& routing, const PackedX& packed) {
  start_pack(on, {args.input, routing.row_of, args.output, args.n_tokens, args.top_k, args.k, args.n, packed});
}

}  // namespace mlx_native::cuda
