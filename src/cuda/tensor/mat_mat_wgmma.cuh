// Products on Hopper's tensor cores: groups that stay on their multiprocessor and take tile after tile of
// y^T = W x^T, 128 rows of W by up to kTokens rows of x.
//
//   loaders      one warpgroup: a thread starts the copies of x, another those of raw weights, both some way ahead
//   multipliers  two warpgroups, each of 64 of the rows: decode raw weights from shared memory into registers, the tall
//                operand of wgmma, while their product before is under way
//
// The sums of a result are added in the order of k, whatever the tile's size.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/problem.h"
#include "cuda/tensor/weight_map.h"
#include "cuda/tensor/weight_tile.cuh"
#include "cuda/tensor/wgmma.cuh"

namespace mlx_native::cuda {

template <class Format, bool kFull, int kTokensAtMost>
struct WgmmaShape {
  static constexpr int kTokens = kTokensAtMost;
  static constexpr int kGroup = 128, kMultipliers = 2, kRows = 64 * kMultipliers;
  static constexpr int kThreads = (kMultipliers + 1) * kGroup;
  static constexpr int kOperands = kFull ? 2 : 1;  // f16 parts of a number

  // Raw weights come in chunks of a row, an even number of tiles of k.
  static constexpr int kChunkTiles = Format::kPlain ? 2 : 4;
  static constexpr int kChunkBytes = kChunkTiles * int(kTileK) / Format::kValues * int(sizeof(typename Format::Block));
  // Copies begin at multiples of 16 bytes.
  static constexpr bool kAligned = kChunkBytes % 16 == 0;
  // An odd number of 16 bytes: then the same 16 bytes of 8 rows lie in different banks.
  static constexpr int kPitch = ((kChunkBytes + (kAligned ? 0 : 14) + 15) / 16 | 1) * 16;
  static constexpr int kUnit = kPitch > 512 ? 4 : 2;  // bytes by which copies count: at most 256 of them
  static constexpr int kBuffer = kRows * kPitch;
  static constexpr int kCopyRows = kRows / 2;  // that one copy loads: less than 64 KB

  // Groups on a multiprocessor: latency bounds those of few rows of x, and they need few registers.
  static constexpr int kResident = kTokens <= 64 && !kFull && kBuffer <= 36 << 10 ? 2 : 1;
  static constexpr int kRegisters = kResident == 2 ? 96 : 224, kLoaderRegisters = kResident == 2 ? 40 : 56;

  // Whether weights are decoded while those before are still being multiplied. Takes registers.
  static constexpr bool kAhead = !kFull && kResident == 1;

  static constexpr int kXTile = kTokens * int(kTileRowBytes), kPlace = kOperands * kXTile;
  static constexpr int kInfo = 8 * kTokens;                 // of the rows of x: their units and where their results go
  static constexpr int kReserved = 1024 + 2 * kInfo + 512;  // to align, and the barriers
  static constexpr int kMemory = (228 << 10) / kResident - 1024 - kReserved;
  static constexpr int kWantedPlaces = kTokens <= 64 ? 6 : 4;
  static constexpr int kMostPlaces = (kMemory - 2 * kBuffer) / kPlace;
  static constexpr int kPlaces = kMostPlaces < kWantedPlaces ? kMostPlaces : kWantedPlaces;
  static constexpr int kMostBuffers = (kMemory - kPlaces * kPlace) / kBuffer;
  static constexpr int kBuffers = kMostBuffers < 4 ? kMostBuffers : 4;
  static_assert(kPlaces >= 2 && kBuffers >= 2);
  static constexpr int kSharedBytes = kReserved + kPlaces * kPlace + kBuffers * kBuffer;

  static constexpr int kStep = kTokens / 4;  // widths of products are multiples of it
};

struct WgmmaProblem : MatMatProblem {
  WeightMap map;
};

struct Unit {
  uint32_t expert, first_row, first_x, tokens;
  uint32_t part, first_chunk, end_chunk;  // of k
};

struct Units {
  uint32_t count, row_tiles, token_tiles, chunks;

  template <class Shape>
  static __device__ Units of(const MatMatProblem& p) {
    const uint32_t row_tiles = (p.n - 1) / Shape::kRows + 1;
    const uint32_t token_tiles = p.routing.tiles ? *p.routing.n_tiles : (p.m - 1) / Shape::kTokens + 1;
    return {row_tiles * token_tiles * p.parts, row_tiles, token_tiles, p.x.k_tiles / Shape::kChunkTiles};
  }
  /// Neighbours share the weights of a dense product, and the activations of a routed one.
  template <class Shape>
  __device__ Unit at(const MatMatProblem& p, uint32_t i) const {
    if (p.routing.tiles) {
      const RoutedTile tile = p.routing.tiles[i / row_tiles];
      const uint32_t row = i % row_tiles * Shape::kRows;
      return {tile.expert, row, tile.first, tile.rows, 0, 0, chunks};
    }
    const uint32_t part = i % p.parts;
    i /= p.parts;
    const uint32_t row = i / token_tiles * Shape::kRows, token = i % token_tiles * Shape::kTokens;
    return {0,
            row,
            token,
            min(uint32_t(Shape::kTokens), p.m - token),
            part,
            chunks * part / p.parts,
            chunks * (part + 1) / p.parts};
  }
};

/// A ring of places in shared memory. A place is filled in phase `parity` and emptied after it.
template <int kPlaces, int kBytes>
struct Ring {
  uint8_t* places;
  SharedBarrier *full, *empty;
  uint32_t place = 0, parity = 0;

  __device__ uint8_t* here() const { return places + place * kBytes; }
  __device__ void await_full() const { full[place].await(parity); }
  __device__ void await_empty() const { empty[place].await(parity ^ 1); }
  __device__ void next() {
    if (++place == kPlaces) place = 0, parity ^= 1;
  }
};

template <class Shape>
struct Rings {
  Ring<Shape::kPlaces, Shape::kPlace> x;
  Ring<Shape::kBuffers, Shape::kBuffer> raw;
  Ring<2, Shape::kInfo> info;  // of a tile's rows of x: float unit[kTokens], uint32_t slot[kTokens] (routed)

  __device__ explicit Rings(uint8_t* memory) {
    x.places = memory + (1024 - shared_address(memory) % 1024) % 1024;
    raw.places = x.places + Shape::kPlaces * Shape::kPlace;
    info.places = raw.places + Shape::kBuffers * Shape::kBuffer;
    x.full = reinterpret_cast<SharedBarrier*>(info.places + 2 * Shape::kInfo);
    x.empty = x.full + Shape::kPlaces;
    raw.full = x.empty + Shape::kPlaces;
    raw.empty = raw.full + Shape::kBuffers;
    info.full = raw.empty + Shape::kBuffers;
    info.empty = info.full + 2;
  }
  __device__ void init() const {
    constexpr uint32_t kWarps = 4 * Shape::kMultipliers;
    for (int i = 0; i < Shape::kPlaces; ++i) x.full[i].init(1), x.empty[i].init(kWarps);
    for (int i = 0; i < Shape::kBuffers; ++i) raw.full[i].init(1), raw.empty[i].init(kWarps);
    for (int i = 0; i < 2; ++i) info.full[i].init(1), info.empty[i].init(kWarps);
    fence_barrier_init();
  }
};

template <bool kFull, class Shape>
__device__ void load_x(const MatMatProblem& p, const Units& units, Ring<Shape::kPlaces, Shape::kPlace> ring,
                       Ring<2, Shape::kInfo> info) {
  await_previous();
  for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x) {
    const Unit unit = units.at<Shape>(p, i);
    const uint32_t rows = (unit.tokens + 7) / 8 * 8, bytes = rows * kTileRowBytes;
    info.await_empty();
    info.full[info.place].arrive_and_expect((p.routing.tiles ? 8 : 4) * rows);
    bulk_copy(info.here(), p.x.unit + unit.first_x, 4 * rows, info.full[info.place]);
    if (p.routing.tiles)
      bulk_copy(info.here() + 4 * Shape::kTokens, p.routing.slot_of + unit.first_x, 4 * rows, info.full[info.place]);
    info.next();
    for (uint32_t tile = unit.first_chunk * Shape::kChunkTiles; tile < unit.end_chunk * Shape::kChunkTiles; ++tile) {
      const uint64_t from = (uint64_t(tile) * p.x.rows + unit.first_x) * kTileRowBytes;
      ring.await_empty();
      SharedBarrier& full = ring.full[ring.place];
      full.arrive_and_expect(Shape::kOperands * bytes);
      bulk_copy(ring.here(), p.x.high + from, bytes, full);
      if constexpr (kFull) bulk_copy(ring.here() + Shape::kXTile, p.x.low + from, bytes, full);
      ring.next();
    }
  }
}

template <class Shape>
__device__ void load_weights(const WgmmaProblem& p, const Units& units, Ring<Shape::kBuffers, Shape::kBuffer> ring) {
  const uint32_t log2 = p.map.bunch_log2;
  for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x) {
    const Unit unit = units.at<Shape>(p, i);
    for (uint32_t chunk = unit.first_chunk; chunk < unit.end_chunk; ++chunk) {
      ring.await_empty();
      SharedBarrier& full = ring.full[ring.place];
      full.arrive_and_expect(Shape::kBuffer);
#pragma unroll 1
      for (uint32_t copy = 0; copy < 2u << log2; ++copy) {
        const uint32_t row = copy / 2, half = copy % 2;
        box_copy(ring.here() + copy * (Shape::kCopyRows * Shape::kPitch >> log2), p.map.tensor,
                 (row * uint32_t(p.row_bytes) + chunk * Shape::kChunkBytes) / 16 * (16 / Shape::kUnit),
                 (unit.first_row + half * Shape::kCopyRows) >> log2, unit.expert, full);
      }
      ring.next();
    }
  }
}

template <class Format, bool kFull, class Shape>
struct Multiplier {
  const WgmmaProblem& p;
  Rings<Shape> rings;
  Units units;
  // Lane 4 g + t of one of the eight warps, each of which has 16 rows.
  uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

  /// Where the lane's first row of the tile lies among raw weights (WeightMap).
  __device__ static uint32_t place_of(uint32_t row, uint32_t log2) {
    return ((row & ((1u << log2) - 1)) * (Shape::kRows >> log2) + (row >> log2)) * Shape::kPitch;
  }
  uint32_t raw_place = place_of(16 * warp + g, p.map.bunch_log2);
  // Where chunks are not aligned: of both rows, for bunches are of at most 8.
  uint32_t start = (16 * warp + g) * uint32_t(p.row_bytes);

  template <int kTile>
  __device__ __forceinline__ void decode(uint32_t chunk, LaneFactors<Format, kFull> (&factors)[2],
                                         Fragments<kFull>& to) const {
    const uint8_t* first = rings.raw.here() + raw_place;
    if constexpr (!Shape::kAligned) first += (start + chunk * Shape::kChunkBytes) % 16;
    const uint8_t* const rows[2] = {first, first + (8u >> p.map.bunch_log2) * Shape::kPitch};
    decode_tile<Format, kFull, Shape::kAligned ? 16 : 2, kTile>(rows, t, factors, to);
  }

  /// Multiplies with the tile of x that is next, and waits for the product that used `next`, where decoding goes on.
  template <int kColumns>
  __device__ __forceinline__ void multiply(float (&sums)[kColumns / 2], Fragments<kFull>& now, Fragments<kFull>& next) {
    rings.x.await_full();
    const uint64_t x = operand(rings.x.here());
    hold(sums);
    now.hold();
    wgmma_begin();
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      Wgmma<kColumns>::run(sums, now.high[run], x + 2 * run);
      if constexpr (kFull) {
        Wgmma<kColumns>::run(sums, now.high[run], x + 2 * run + Shape::kXTile / 16);
        Wgmma<kColumns>::run(sums, now.low[run], x + 2 * run);
      }
    }
    wgmma_commit();
    if constexpr (Shape::kAhead) {
      wgmma_await<1>();
      next.hold();
      if (emptied != kNone) release_x(emptied);
      emptied = rings.x.place;
    } else {
      wgmma_await<0>();
      next.hold();
      release_x(rings.x.place);
    }
    rings.x.next();
  }
  __device__ __forceinline__ void release_x(uint32_t place) {
    if (lane == 0) rings.x.empty[place].arrive();
  }
  uint32_t emptied = kNone;  // the place whose product was under way when the last was started
  static constexpr uint32_t kNone = ~0u;

  __device__ __forceinline__ void release_weights() {
    __syncwarp();
    if (lane == 0) rings.raw.empty[rings.raw.place].arrive();
    rings.raw.next();
  }

  template <int kColumns>
  __device__ void make(const Unit& unit) {
    float sums[kColumns / 2];
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) sums[i] = 0.0f;
    Fragments<kFull> even = {}, other = {};
    Fragments<kFull>& odd = Shape::kAhead ? other : even;
    LaneFactors<Format, kFull> factors[2];  // of rows g and g + 8
    rings.raw.await_full();
    decode<0>(unit.first_chunk, factors, even);
    for (uint32_t chunk = unit.first_chunk; chunk < unit.end_chunk; ++chunk) {
      multiply<kColumns>(sums, even, odd);
      decode<1>(chunk, factors, odd);
      if constexpr (Shape::kChunkTiles == 4) {
        multiply<kColumns>(sums, odd, even);
        decode<2>(chunk, factors, even);
        multiply<kColumns>(sums, even, odd);
        decode<3>(chunk, factors, odd);
      }
      multiply<kColumns>(sums, odd, even);
      release_weights();  // now that a product has what was read of them
      if (chunk + 1 < unit.end_chunk) {
        rings.raw.await_full();
        decode<0>(chunk + 1, factors, even);
      }
    }
    wgmma_await<0>();
    hold(sums);
    if constexpr (Shape::kAhead) {
      odd.hold();
      release_x(emptied);
      emptied = kNone;
    }
    write(unit, sums);
  }

  template <int kSums>
  __device__ void write(const Unit& unit, const float (&sums)[kSums]) {
    const uint32_t row = unit.first_row + 16 * warp + g;
    float* const output = (p.partial ? p.partial + uint64_t(unit.part) * p.m * p.n : p.output) + row;
    const bool first = row < p.n, second = row + 8 < p.n, routed = p.routing.tiles;
    await_previous();
    rings.info.await_full();
    const float2* const units_of = reinterpret_cast<const float2*>(rings.info.here()) + t;
    const uint2* const slots = reinterpret_cast<const uint2*>(rings.info.here() + 4 * Shape::kTokens) + t;
#pragma unroll
    for (int j = 0; j < kSums / 4; ++j) {
      const float2 by = units_of[4 * j];
      const uint32_t token = 8 * j + 2 * t;
      uint2 to = make_uint2(unit.first_x + token, unit.first_x + token + 1);
      if (routed) to = slots[4 * j];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float* const y = output + uint64_t(c ? to.y : to.x) * p.n;
        const bool wanted = token + c < unit.tokens;
        if (wanted && first) y[0] = (c ? by.y : by.x) * sums[4 * j + c];
        if (wanted && second) y[8] = (c ? by.y : by.x) * sums[4 * j + 2 + c];
      }
    }
    __syncwarp();
    if (lane == 0) rings.info.empty[rings.info.place].arrive();
    rings.info.next();
  }

  __device__ void run() {
    constexpr uint32_t kStep = Shape::kStep;
    for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x) {
      const Unit unit = units.at<Shape>(p, i);
      switch ((unit.tokens - 1) / kStep) {
        case 0:
          // A fourth width would leave the compiler too few registers for sums of 256 columns.
          if constexpr (Shape::kTokens < 256) {
            make<kStep>(unit);
            break;
          }
          [[fallthrough]];
        case 1: make<2 * kStep>(unit); break;
        case 2: make<3 * kStep>(unit); break;
        default: make<4 * kStep>(unit);
      }
    }
  }

  /// No access to the sums moves across this point.
  template <int kSums>
  static __device__ __forceinline__ void hold(float (&sums)[kSums]) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) asm volatile("" : "+f"(sums[i])::"memory");
  }
};

template <class Format, bool kFull, int kTokens>
__global__ void __launch_bounds__(WgmmaShape<Format, kFull, kTokens>::kThreads,
                                  WgmmaShape<Format, kFull, kTokens>::kResident)
    mat_mat_wgmma(const __grid_constant__ WgmmaProblem p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Shape = WgmmaShape<Format, kFull, kTokens>;
  extern __shared__ __align__(1024) uint8_t memory[];
  const Rings<Shape> rings(memory);
  if (threadIdx.x == 0) rings.init();
  __syncthreads();
  const Units units = Units::of<Shape>(p);
  if (threadIdx.x < Shape::kMultipliers * Shape::kGroup) {
    take_registers<Shape::kRegisters>();
    Multiplier<Format, kFull, Shape>{p, rings, units}.run();
  } else {
    release_registers<Shape::kLoaderRegisters>();
    const uint32_t thread = threadIdx.x - Shape::kMultipliers * Shape::kGroup;
    if (thread == 0) load_x<kFull, Shape>(p, units, rings.x, rings.info);
    if (thread == 32) load_weights<Shape>(p, units, rings.raw);
  }
#endif
}

}  // namespace mlx_native::cuda
