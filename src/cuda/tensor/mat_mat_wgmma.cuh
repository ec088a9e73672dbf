// Products on Hopper's tensor cores: groups that stay on their multiprocessor and take tile after tile of
// y^T = W x^T, 128 rows of W by up to kTokens rows of x.
//
//   loaders      one warpgroup: a thread starts the copies of x, 96 threads those of raw weights, both some way ahead
//   multipliers  two warpgroups, each of 64 of the rows: decode raw weights from shared memory into registers, the tall
//                operand of wgmma, while their product before is under way
//
// The sums of a result are added in the order of k, whatever the tile's size.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/problem.h"
#include "cuda/tensor/weight_tile.cuh"
#include "cuda/tensor/wgmma.cuh"

namespace mlx_native::cuda {

template <class Format, bool kFull, int kTokensAtMost>
struct WgmmaShape {
  static constexpr int kTokens = kTokensAtMost;
  static constexpr int kGroup = 128, kMultipliers = 2, kRows = 64 * kMultipliers;
  static constexpr int kThreads = (kMultipliers + 1) * kGroup;
  static constexpr int kWeightLoaders = kGroup - 32;
  static constexpr int kOperands = kFull ? 2 : 1;  // f16 parts of a number

  // Raw weights come in chunks of a row, an even number of tiles of k.
  static constexpr int kChunkTiles = Format::kPlain ? 2 : 4;
  static constexpr int kChunkBytes = kChunkTiles * int(kTileK) / Format::kValues * int(sizeof(typename Format::Block));
  static constexpr bool kAligned = kChunkBytes % 16 == 0;
  // Of 16 bytes, as memory has them: a chunk that begins at an even byte lies in one more.
  static constexpr int kPieces = (kChunkBytes + (kAligned ? 0 : 14) + 15) / 16;
  // An odd number of 16 bytes: then the same 16 bytes of 8 rows lie in different banks.
  static constexpr int kPitch = (kPieces | 1) * 16;
  static constexpr int kBuffer = kRows * kPitch;

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

struct Unit {
  const uint8_t* weight;  // of the first row
  uint32_t first_row, first_x, tokens;
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
      return {p.weight + tile.expert * p.expert_stride + row * p.row_bytes, row, tile.first, tile.rows, 0, 0, chunks};
    }
    const uint32_t part = i % p.parts;
    i /= p.parts;
    const uint32_t row = i / token_tiles * Shape::kRows, token = i % token_tiles * Shape::kTokens;
    return {p.weight + row * p.row_bytes,
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
    for (int i = 0; i < Shape::kBuffers; ++i) raw.full[i].init(Shape::kWeightLoaders), raw.empty[i].init(kWarps);
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
__device__ void load_weights(const MatMatProblem& p, const Units& units, uint32_t thread,
                             Ring<Shape::kBuffers, Shape::kBuffer> ring) {
  for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x) {
    const Unit unit = units.at<Shape>(p, i);
    const uint32_t last = p.n - 1 - unit.first_row;
    for (uint32_t chunk = unit.first_chunk; chunk < unit.end_chunk; ++chunk) {
      ring.await_empty();
      const uint8_t* const from = unit.weight + uint64_t(chunk) * Shape::kChunkBytes;
#pragma unroll 4
      for (uint32_t at = thread; at < Shape::kRows * Shape::kPieces; at += Shape::kWeightLoaders) {
        const uint32_t row = at / Shape::kPieces, piece = at % Shape::kPieces;
        const uint8_t* const source = from + min(row, last) * p.row_bytes;
        uint8_t* const target = ring.here() + row * Shape::kPitch + 16 * piece;
        if constexpr (Shape::kAligned) {
          copy_16(target, source + 16 * piece);
        } else {
          const uint32_t shift = reinterpret_cast<uintptr_t>(source) % 16, end = shift + Shape::kChunkBytes;
          copy_16(target, source - shift + 16 * piece, min(16u, end - min(end, 16 * piece)));
        }
      }
      arrive_after_copies(ring.full[ring.place]);
      ring.next();
    }
  }
}

template <class Format, bool kFull, class Shape>
struct Multiplier {
  const MatMatProblem& p;
  Rings<Shape> rings;
  Units units;
  // Lane 4 g + t of one of the eight warps, each of which has 16 rows.
  uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

  template <int kTile>
  __device__ __forceinline__ void decode(uint32_t chunk, LaneFactors<Format, kFull> (&factors)[2],
                                         Fragments<kFull>& to) const {
    const uint8_t* rows[2];
#pragma unroll
    for (uint32_t r = 0; r < 2; ++r) {
      rows[r] = rings.raw.here() + (16 * warp + g + 8 * r) * Shape::kPitch;
      if constexpr (!Shape::kAligned) rows[r] += (start[r] + chunk * Shape::kChunkBytes) % 16;
    }
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

  uint32_t start[2];  // of the lane's two rows, low bits of the address; where chunks are not aligned

  template <int kColumns>
  __device__ void make(const Unit& unit) {
    if constexpr (!Shape::kAligned) {
#pragma unroll
      for (uint32_t r = 0; r < 2; ++r) {
        const uint32_t row = min(16 * warp + g + 8 * r, p.n - 1 - unit.first_row);
        start[r] = uint32_t(reinterpret_cast<uintptr_t>(unit.weight)) + row * uint32_t(p.row_bytes);
      }
    }
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
      release_weights();
      multiply<kColumns>(sums, odd, even);
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
    mat_mat_wgmma(const __grid_constant__ MatMatProblem p) {
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
    if (thread >= 32)
      load_weights<Shape>(p, units, thread - 32, rings.raw);
    else if (thread == 0)
      load_x<kFull, Shape>(p, units, rings.x, rings.info);
  }
#endif
}

}  // namespace mlx_native::cuda
