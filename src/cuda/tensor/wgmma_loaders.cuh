// What the products of mat_mat_wgmma.cuh are made of besides multiplication: shapes, units of work, and the rings in
// shared memory with the threads that fill them.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/halfs.cuh"
#include "cuda/tensor/problem.h"
#include "cuda/tensor/weight_map.h"
#include "cuda/tensor/wgmma.cuh"

namespace mlx_native::cuda {

/// How a kernel's groups are made up.
template <int kTokensAtMost, int kMultiplierGroups = 2, int kResidentGroups = 1, bool kDecodeAhead = true,
          int kStepOfWidths = kTokensAtMost / 4, int kNumberOfWidths = 4, bool kGathers = false, bool kShares = false>
struct Plan {
  static constexpr int kTokens = kTokensAtMost;           // rows of x in a tile at most
  static constexpr int kMultipliers = kMultiplierGroups;  // warpgroups, each of 64 rows of the weights
  // Whether rows of x, packed once per token, are gathered, or lie side by side.
  static constexpr bool kGather = kGathers;
  static constexpr int kResident = kResidentGroups;  // on a multiprocessor
  // Whether weights are decoded while those before are still being multiplied. Takes registers.
  static constexpr bool kAhead = kDecodeAhead;
  // Whether two groups, a cluster, may share a tile: each multiplies half of k, and they add their sums.
  static constexpr bool kMayPair = kTokensAtMost >= 128 && !kGathers && !kShares;
  // Whether two groups, a cluster, have the same rows of x and neighbouring ones of the weights. Each loads half of x
  // for both.
  static constexpr bool kShareX = kShares;
  // Of products: kTokens columns, and fewer by steps; of five widths the first step is in two halves.
  static constexpr int kStep = kStepOfWidths, kWidths = kNumberOfWidths;
  static __host__ __device__ constexpr int columns(int width) {
    const bool halved = kWidths > 4;
    if (halved && width == kWidths - 1) return kTokens - kStep / 2;
    return kTokens - (kWidths - width - (halved && width < kWidths)) * kStep;
  }
};

template <class WeightFormat, bool kFull, class Plan>
struct WgmmaShape : Plan {
  using Format = WeightFormat;
  using Plan::kTokens, Plan::kMultipliers, Plan::kResident, Plan::kGather, Plan::kShareX;
  static constexpr int kGroup = 128, kRows = 64 * kMultipliers;
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
  static constexpr int kCopyRows = 64;  // that one copy loads: less than 64 KB

  // What a group has at its start, and then: loaders little, multipliers the rest.
  static constexpr int kAllRegisters = (65536 / (kResident * kThreads)) / 8 * 8 * kThreads;
  static constexpr int kLoaderRegisters = kResident == 2 ? 48 : kMultipliers > 2 ? 72 : 56;
  static constexpr int kMostRegisters = (kAllRegisters - kGroup * kLoaderRegisters) / (kMultipliers * kGroup) / 8 * 8;
  static constexpr int kRegisters = kMostRegisters < 232 ? kMostRegisters : 232;

  // Two products for three.
  static constexpr bool kGroups = kFull && ExactGroups<Format>, kSpans = kFull && ExactSpans<Format>;

  static constexpr int kXTile = kTokens * int(kTileRowBytes), kXTiles = kOperands * kXTile;
  static constexpr int kPlace = kXTiles + (kSpans ? kTokens * int(kSumBytes) : 0);
  static constexpr int kInfo = 8 * kTokens;                 // of the rows of x: their units and where their results go
  static constexpr int kReserved = 1024 + 2 * kInfo + 512;  // to align, and the barriers
  // Of rows that are packed (wgmma_packers.cuh).
  static constexpr int kPackers = kShareX ? 2 : 0, kPieces = 5, kPieceBytes = 2048;
  static constexpr int kPackerBytes = kPackers * kPieces * kPieceBytes;
  static constexpr int kMemory = (228 << 10) / kResident - 1024 - kReserved - kPackerBytes;
  // For tiles of x: those of a chunk, or of two if they are small.
  static constexpr int kMostPlaces = (kMemory - 2 * kBuffer) / kPlace;
  static constexpr int kPlaces = kMostPlaces < 4 ? kChunkTiles : kTokens <= 64 && kMostPlaces >= 8 ? 8 : 4;
  static constexpr int kMostBuffers = (kMemory - kPlaces * kPlace) / kBuffer;
  static constexpr int kBuffers = kMostBuffers < 4 ? kMostBuffers : 4;
  static_assert(kPlaces <= kMostPlaces && kPlaces % kChunkTiles == 0 && kBuffers >= 2);
  static constexpr int kSharedBytes = kReserved + kPackerBytes + kPlaces * kPlace + kBuffers * kBuffer;
};

struct WgmmaProblem : MatMatProblem {
  WeightMap map;
  PackedBehind behind;  // of groups that share x
  bool once;            // whether weights are read by one group only, and then leave L2 before anything else does
  bool paired;          // whether groups share tiles (Plan::kMayPair), which have two parts
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
  __device__ Unit at(const WgmmaProblem& p, uint32_t i) const {
    if (p.routing.tiles) {
      const RoutedTile tile = p.routing.tiles[i / row_tiles];
      const uint32_t row = i % row_tiles * Shape::kRows;
      return {tile.expert, row, tile.first, tile.rows, 0, 0, chunks};
    }
    if constexpr (Shape::kShareX) {
      const uint32_t neighbour = i % 2;
      i /= 2;
      // Tiles of x that are packed before come first.
      uint32_t first_tile = 0, tiles = p.behind.taken ? p.behind.first_row / Shape::kTokens : token_tiles;
      if (i >= row_tiles / 2 * tiles) i -= row_tiles / 2 * tiles, first_tile = tiles, tiles = token_tiles - tiles;
      const uint32_t row = (i / tiles * 2 + neighbour) * Shape::kRows,
                     token = (first_tile + i % tiles) * Shape::kTokens;
      return {0, row, token, min(uint32_t(Shape::kTokens), p.m - token), 0, 0, chunks};
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
  __device__ void await_full(uint32_t ahead = 0) const { full[place + ahead].await(parity); }
  __device__ void await_empty() const { empty[place].await(parity ^ 1); }
  /// By a number of which kPlaces is a multiple.
  template <int kBy = 1>
  __device__ void next() {
    place += kBy;
    if (kBy == kPlaces || place == kPlaces) place = 0, parity ^= 1;
  }
};

/// Threads that gather rows of x: all but one warp of the loaders.
inline constexpr uint32_t kGatherers = 96;

template <class Shape>
struct Rings {
  Ring<Shape::kPlaces, Shape::kPlace> x;
  Ring<Shape::kBuffers, Shape::kBuffer> raw;
  Ring<2, Shape::kInfo> info;  // of a tile's rows of x: float unit[kTokens], uint32_t slot[kTokens] (routed)
  uint8_t* pieces;             // for rows that are packed: those of each packer
  SharedBarrier* piece_full;
  uint32_t* odd_bytes;  // kOddBytes for each lane

  __device__ explicit Rings(uint8_t* memory) {
    x.places = memory + (1024 - shared_address(memory) % 1024) % 1024;
    raw.places = x.places + Shape::kPlaces * Shape::kPlace;
    pieces = raw.places + Shape::kBuffers * Shape::kBuffer;
    info.places = pieces + Shape::kPackerBytes;
    x.full = reinterpret_cast<SharedBarrier*>(info.places + 2 * Shape::kInfo);
    x.empty = x.full + Shape::kPlaces;
    raw.full = x.empty + Shape::kPlaces;
    raw.empty = raw.full + Shape::kBuffers;
    info.full = raw.empty + Shape::kBuffers;
    info.empty = info.full + 2;
    piece_full = info.empty + 2;
    odd_bytes = reinterpret_cast<uint32_t*>(piece_full + Shape::kPackers * Shape::kPieces);
  }
  __device__ void init() const {
    constexpr uint32_t kWarps = 4 * Shape::kMultipliers, kFillers = Shape::kGather ? kGatherers : 1;
    for (int i = 0; i < Shape::kPlaces; ++i)
      x.full[i].init(kFillers), x.empty[i].init_for_warps(Shape::kShareX ? 2 * kWarps : kWarps);
    for (int i = 0; i < Shape::kBuffers; ++i) raw.full[i].init(1), raw.empty[i].init_for_warps(kWarps);
    for (int i = 0; i < 2; ++i) info.full[i].init(kFillers), info.empty[i].init_for_warps(kWarps);
    for (int i = 0; i < Shape::kPackers * Shape::kPieces; ++i) piece_full[i].init(1);
    fence_barrier_init();
  }
};

/// Until all rows are packed, for copies by this thread.
inline __device__ void await_packed(const PackedBehind& behind, uint32_t rows) {
  uint32_t packed;
  do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(packed) : "l"(behind.taken + 1) : "memory");
  while (packed < rows - behind.first_row);
  fence_copies();
}

template <bool kFull, class Shape>
__device__ void load_x(const WgmmaProblem& p, const Units& units, Ring<Shape::kPlaces, Shape::kPlace> ring,
                       Ring<2, Shape::kInfo> info) {
  await_previous();
  bool all_packed = !Shape::kShareX || !p.behind.taken;
  for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x) {
    const Unit unit = units.at<Shape>(p, i);
    if (!all_packed && unit.first_x >= p.behind.first_row) await_packed(p.behind, p.m), all_packed = true;
    const uint32_t rows = (unit.tokens + 7) / 8 * 8, bytes = rows * kTileRowBytes;
    info.await_empty();
    info.full[info.place].arrive_and_expect((p.routing.tiles ? 8 : 4) * rows);
    bulk_copy(info.here(), p.x.unit + unit.first_x, 4 * rows, info.full[info.place]);
    if (p.routing.tiles)
      bulk_copy(info.here() + 4 * Shape::kTokens, p.routing.slot_of + unit.first_x, 4 * rows, info.full[info.place]);
    info.next();
    for (uint32_t tile = unit.first_chunk * Shape::kChunkTiles; tile < unit.end_chunk * Shape::kChunkTiles; ++tile) {
      const uint64_t from = (uint64_t(tile_in<typename Shape::Format>(tile)) * p.x.rows + unit.first_x) * kTileRowBytes;
      ring.await_empty();
      SharedBarrier& full = ring.full[ring.place];
      const bool sums = Shape::kSpans && tile % Shape::kChunkTiles == Shape::kChunkTiles - 1;
      full.arrive_and_expect(Shape::kOperands * bytes + (sums ? rows * kSumBytes : 0));
      if (sums)
        bulk_copy(ring.here() + Shape::kXTiles,
                  p.x.sums + (uint64_t(tile / Shape::kChunkTiles) * p.x.rows + unit.first_x) * kSumBytes,
                  rows * kSumBytes, full);
      if constexpr (Shape::kShareX) {
        const uint32_t half = rows / 16 * 8 * kTileRowBytes, begin = blockIdx.x % 2 ? half : 0;
        const uint32_t end = blockIdx.x % 2 ? bytes : half;
        if (begin < end) {
          bulk_copy_to_both(ring.here() + begin, p.x.high + from + begin, end - begin, full);
          if constexpr (kFull)
            bulk_copy_to_both(ring.here() + Shape::kXTile + begin, p.x.low + from + begin, end - begin, full);
        }
      } else {
        bulk_copy(ring.here(), p.x.high + from, bytes, full);
        if constexpr (kFull) bulk_copy(ring.here() + Shape::kXTile, p.x.low + from, bytes, full);
      }
      ring.next();
    }
    if constexpr (Shape::kMayPair)
      if (p.paired) {  // one unit a group; then sums lie where x was
        for (int n = 0; n < Shape::kPlaces; ++n, ring.next()) ring.await_empty();
        for (int n = 0; n < 2; ++n) meet_cluster_alone();
      }
  }
}

/// The same where rows of x lie apart, by kGatherers threads: eight have a row's tile, 16 bytes each. A piece keeps its
/// place but for the swizzle, which was made for the token's number and is wanted for the row's.
template <class Shape>
__device__ void gather_x(const WgmmaProblem& p, const Units& units, uint32_t thread,
                         Ring<Shape::kPlaces, Shape::kPlace> ring, Ring<2, Shape::kInfo> info) {
  constexpr uint32_t kAtOnce = kGatherers / 8, kTimes = (Shape::kTokens - 1) / kAtOnce + 1;
  const uint32_t first = thread / 8, to = shared_address(ring.places) + 16 * thread;
  const uint64_t step = uint64_t(p.x.rows) * kTileRowBytes;
  const auto unit_at = [&](uint32_t i) { return units.at<Shape>(p, min(i, units.count - 1)); };
  Unit unit = unit_at(blockIdx.x);
  await_previous();
  for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x, unit = unit_at(i)) {
    const uint32_t* const slots = p.routing.slot_of + unit.first_x;
    uint32_t from[kTimes];  // in pieces of 16 bytes
#pragma unroll
    for (uint32_t j = 0; j < kTimes; ++j) {
      const uint32_t row = first + j * kAtOnce;
      const uint32_t token = row < unit.tokens ? slots[row] / p.routing.top_k : 0;
      from[j] = token * (kTileRowBytes / 16) + (thread ^ row ^ token) % 8;
    }
    const uint8_t* x = p.x.high + unit.first_chunk * Shape::kChunkTiles * step;
    // What the end of the unit asks for comes where all places are filled, not before its first tile.
    const uint32_t tiles = (unit.end_chunk - unit.first_chunk) * Shape::kChunkTiles;
    const uint32_t described = min(tiles, uint32_t(Shape::kPlaces)) - 1;
    const auto tile_at = [](uint32_t n) { return tile_in<typename Shape::Format>(n); };
    for (uint32_t n = 0; n < tiles; ++n, x += int32_t(tile_at(n) - tile_at(n - 1)) * int64_t(step)) {
      ring.await_empty();
      const uint32_t place = to + ring.place * Shape::kPlace;
#pragma unroll
      for (uint32_t j = 0; j < kTimes; ++j)
        if (first + j * kAtOnce < unit.tokens)
          copy_16_to(place + j * (kAtOnce * kTileRowBytes), x + uint64_t(from[j]) * 16);
      ring.full[ring.place].arrive_after_copies();
      ring.next();
      if (n != described) continue;
      info.await_empty();
      for (uint32_t row = thread; row < unit.tokens; row += kGatherers) {
        const uint32_t slot = slots[row];
        reinterpret_cast<float*>(info.here())[row] = p.x.unit[slot / p.routing.top_k];
        reinterpret_cast<uint32_t*>(info.here())[Shape::kTokens + row] = slot;
      }
      info.full[info.place].arrive();
      info.next();
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
      for (uint32_t copy = 0; copy < uint32_t(Shape::kMultipliers) << log2; ++copy) {
        const uint32_t row = copy / Shape::kMultipliers, part = copy % Shape::kMultipliers;
        void* const to = ring.here() + copy * (Shape::kCopyRows * Shape::kPitch >> log2);
        const uint32_t x = (row * uint32_t(p.row_bytes) + chunk * Shape::kChunkBytes) / 16 * (16 / Shape::kUnit);
        const uint32_t y = (unit.first_row + part * Shape::kCopyRows) >> log2;
        if (p.once)
          box_copy_once(to, p.map.tensor, x, y, unit.expert, full);
        else
          box_copy(to, p.map.tensor, x, y, unit.expert, full);
      }
      ring.next();
    }
  }
}

}  // namespace mlx_native::cuda
