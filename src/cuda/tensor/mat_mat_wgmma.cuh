// Products on Hopper's tensor cores: groups that stay on their multiprocessor and take tile after tile of
// y^T = W x^T, 128 or 192 rows of W by up to kTokens rows of x.
//
//   loaders      one warpgroup: a thread starts the copies of x, another those of raw weights, both some way ahead.
//                Experts' rows of x, packed once per token, are gathered by three warps
//   multipliers  two or three warpgroups, each of 64 of the rows: decode raw weights from shared memory into registers,
//                the tall operand of wgmma, while their product before or another warpgroup's is under way
//
// The sums of a result are added in the order of k, whatever the tile's size.
#pragma once

#include "cuda/tensor/weight_tile_q6_k.cuh"
#include "cuda/tensor/wgmma_packers.cuh"

namespace mlx_native::cuda {

template <class Format, bool kFull, class Shape>
struct Multiplier {
  const WgmmaProblem& p;
  Rings<Shape> rings;
  Units units;
  using Frags = Fragments<kSplit<Format, kFull>>;
  // Lane 4 g + t of one of the warps, each of which has 16 rows.
  uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // From memory, and each lane's own: a constant, or what all lanes share, the compiler makes anew for every use.
  uint32_t odd_bytes = static_cast<const volatile uint32_t*>(rings.odd_bytes)[lane];

  /// Where the lane's first row of the tile lies among raw weights (WeightMap).
  __device__ static uint32_t place_of(uint32_t row, uint32_t log2) {
    return ((row & ((1u << log2) - 1)) * (Shape::kRows >> log2) + (row >> log2)) * Shape::kPitch;
  }
  uint32_t raw_place = place_of(16 * warp + g, p.map.bunch_log2);
  // Where chunks are not aligned: of both rows, for bunches are of at most 8.
  uint32_t start = (16 * warp + g) * uint32_t(p.row_bytes);

  /// Where this lane's rows of the chunk are.
  struct Rows {
    const uint8_t* row[2];
  };
  __device__ __forceinline__ Rows rows_of(uint32_t chunk) const {
    const uint8_t* first = rings.raw.here() + raw_place;
    if constexpr (!Shape::kAligned) first += (start + chunk * Shape::kChunkBytes) % 16;
    return {{first, first + (8u >> p.map.bunch_log2) * Shape::kPitch}};
  }

  using Factors = LaneFactors<Format, kFull>[2];  // of rows g and g + 8
  using Tile = TileCodes<Format, Shape::kAligned ? 16 : 2>;
  template <int kTile>
  __device__ __forceinline__ void read(uint32_t chunk, Factors& factors, Tile& tile) const {
    tile.template read<kTile>(rows_of(chunk).row, t, factors);
  }
  /// What was read of tile kTile.
  template <int kTile>
  __device__ __forceinline__ void decode(uint32_t chunk, const Factors& factors, const Tile& tile, Frags& to) const {
    tile.template decode<kTile>(rows_of(chunk).row, t, odd_bytes, factors, to);
  }
  template <int kTile>
  __device__ __forceinline__ void read_and_decode(uint32_t chunk, Factors& factors, Frags& to) const {
    Tile tile;
    read<kTile>(chunk, factors, tile);
    decode<kTile>(chunk, factors, tile, to);
  }

  /// Tile kTile of x of a chunk, as wgmma is told of it. Places of a chunk's tiles follow each other.
  template <int kTile>
  __device__ __forceinline__ Operand x_operand() const {
    // For `Full`, and for all of a chunk's tiles, there are too few uniform registers to keep them.
    constexpr bool kKept = !kFull && kTile > 0;
    return (kKept ? kept_operand : operand(rings.x.places)) + (rings.x.place + kTile) * (Shape::kPlace / 16);
  }
  Operand kept_operand = kept(operand(rings.x.places));

  /// Multiplies with tile kTile of x, and waits for the product that used `next`, where decoding goes on. What is
  /// decoded there is read meanwhile.
  template <int kColumns, int kTile, class Read>
  __device__ __forceinline__ void multiply(float (&sums)[kColumns / 2], Frags& now, Frags& next,
                                           const Read& read_next) {
    rings.x.await_full(kTile);
    if constexpr (Shape::kGather) fence_tensor_reads();
    const Operand x = x_operand<kTile>();
    hold(sums);
    now.hold();
    wgmma_begin();
#pragma unroll
    for (int run = 0; run < 4; ++run) Wgmma<kColumns>::run(sums, now.high[run], x + 2 * run);
    wgmma_commit();
    if constexpr (Shape::kAhead) {
      wgmma_await<1>();
      next.hold();
      if (emptied != kNone) release_x(emptied);
      emptied = rings.x.place + kTile;
      read_next();
    } else {
      read_next();
      wgmma_await<0>();
      next.hold();
      release_x(rings.x.place + kTile);
    }
  }
  __device__ __forceinline__ void release_x(uint32_t place) {
    rings.x.empty[place].arrive_as_warp(lane);
    if constexpr (Shape::kShareX)
      if (lane < kArrivingLanes) arrive_in_group(other_empty + place * uint32_t(sizeof(SharedBarrier)));
  }
  uint32_t other_empty = Shape::kShareX ? address_in_group(rings.x.empty, 1 - blockIdx.x % 2) : 0;
  uint32_t emptied = kNone;  // the place whose product was under way when the last was started
  static constexpr uint32_t kNone = ~0u;

  __device__ __forceinline__ void release_weights() {
    __syncwarp();
    rings.raw.empty[rings.raw.place].arrive_as_warp(lane);
    rings.raw.next();
  }

  /// Of one half of a tile's columns: the sums, and the product of one group.
  template <int kSums>
  struct ExactHalf {
    float sums[kSums], part[kSums];

    __device__ __forceinline__ void multiply(ExactGroup& group, uint64_t x) {
      using Half = Wgmma<2 * kSums>;
      constexpr int kLow = Shape::kXTile / 16;
      hold(part);
      group.hold();
      wgmma_begin();
      Half::template run<false>(part, group.run[0], x);
      Half::run(part, group.run[1], x + 2);
      Half::run(part, group.run[0], x + kLow);
      Half::run(part, group.run[1], x + kLow + 2);
      wgmma_commit();
    }
    __device__ __forceinline__ void add(const float (&scale)[2]) { Multiplier::add(sums, part, scale[0], scale[1]); }
  };

  /// Group kIndex of a chunk. While one half of the columns is multiplied, the other's product before is added.
  template <int kIndex, int kSums>
  __device__ __forceinline__ void step(ExactHalf<kSums> (&half)[2], ExactGroup& now, ExactGroup& other, uint32_t chunk,
                                       uint32_t end) {
    constexpr int kTile = kIndex / 2;
    if constexpr (kIndex % 2 == 0) rings.x.await_full(kTile);
    const uint64_t x = x_operand<kTile>() + kIndex % 2 * 4;
    half[0].multiply(now, x);
    if constexpr (kIndex > 0) {
      wgmma_await<1>();
      other.hold();
      half[1].add(other.scale);
      if constexpr (kIndex % 2 == 0) release_x(emptied);
    }
    half[1].multiply(now, x + 2 * kSums * kTileRowBytes / 16);
    if constexpr (kIndex + 1 < 2 * Shape::kChunkTiles) {
      decode_group<Format, kIndex + 1>(rows_of(chunk).row, t, odd_bytes, other);
    } else {
      release_weights();
      if (chunk + 1 < end) {
        rings.raw.await_full();
        decode_group<Format, 0>(rows_of(chunk + 1).row, t, odd_bytes, other);
      }
    }
    wgmma_await<1>();
    half[0].add(now.scale);
    if constexpr (kIndex + 1 == 2 * Shape::kChunkTiles) {
      // Products under way from one turn of a loop to the next would be serialized by the compiler.
      wgmma_await<0>();
      now.hold();
      half[1].add(now.scale);
      release_x(rings.x.place + kTile);
      rings.x.template next<Shape::kChunkTiles>();
    } else {
      emptied = rings.x.place + kTile;
    }
  }

  template <int kColumns>
  __device__ __forceinline__ void make(const Unit& unit) requires(Shape::kGroups) {
    constexpr int kHalf = kColumns / 4;
    static_assert(Shape::kChunkTiles == 4);
    ExactHalf<kHalf> half[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < kHalf; ++i) half[h].sums[i] = half[h].part[i] = 0.0f;
    }
    ExactGroup even = {}, odd = {};
    rings.raw.await_full();
    decode_group<Format, 0>(rows_of(unit.first_chunk).row, t, odd_bytes, even);
    for (uint32_t chunk = unit.first_chunk; chunk < unit.end_chunk; ++chunk) {
      step<0>(half, even, odd, chunk, unit.end_chunk);
      step<1>(half, odd, even, chunk, unit.end_chunk);
      step<2>(half, even, odd, chunk, unit.end_chunk);
      step<3>(half, odd, even, chunk, unit.end_chunk);
      step<4>(half, even, odd, chunk, unit.end_chunk);
      step<5>(half, odd, even, chunk, unit.end_chunk);
      step<6>(half, even, odd, chunk, unit.end_chunk);
      step<7>(half, odd, even, chunk, unit.end_chunk);
    }
    float sums[2 * kHalf];
#pragma unroll
    for (int i = 0; i < kHalf; ++i) sums[i] = half[0].sums[i], sums[kHalf + i] = half[1].sums[i];
    finish(unit, sums);
  }

  template <int kSums>
  static __device__ __forceinline__ void add(float (&sums)[kSums], float (&part)[kSums], float first, float second) {
    hold(part);
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] = fmaf(i / 2 % 2 ? second : first, part[i], sums[i]);
    hold(sums);
  }

  /// As multiply(), both parts of a tile.
  template <int kColumns, int kTile>
  __device__ __forceinline__ void multiply_parts(float (&part)[kColumns / 2], Frags& now, Frags& next) {
    rings.x.await_full(kTile);
    const uint64_t high = x_operand<kTile>(), low = high + Shape::kXTile / 16;
    hold(part);
    now.hold();
    wgmma_begin();
    Wgmma<kColumns>::template run<(kTile > 0)>(part, now.high[0], high);
    Wgmma<kColumns>::run(part, now.second(0), low);
#pragma unroll
    for (int run = 1; run < 4; ++run) {
      Wgmma<kColumns>::run(part, now.high[run], high + 2 * run);
      Wgmma<kColumns>::run(part, now.second(run), low + 2 * run);
    }
    wgmma_commit();
    wgmma_await<1>();
    next.hold();
    if constexpr (kTile > 0) release_x(emptied);
    emptied = rings.x.place + kTile;
  }

  /// The tensor cores cut off what they add: a chunk's products have sums of their own.
  template <int kColumns>
  __device__ __forceinline__ void make(const Unit& unit) requires(kFull && !Shape::kGroups) {
    float sums[kColumns / 2], part[kColumns / 2];
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) sums[i] = part[i] = 0.0f;
    Frags even = {}, odd = {};
    Factors factors;
    rings.raw.await_full();
    read_and_decode<0>(unit.first_chunk, factors, even);
    for (uint32_t chunk = unit.first_chunk; chunk < unit.end_chunk; ++chunk) {
      multiply_parts<kColumns, 0>(part, even, odd);
      read_and_decode<1>(chunk, factors, odd);
      if constexpr (Shape::kChunkTiles == 4) {
        multiply_parts<kColumns, 1>(part, odd, even);
        read_and_decode<2>(chunk, factors, even);
        multiply_parts<kColumns, 2>(part, even, odd);
        read_and_decode<3>(chunk, factors, odd);
      }
      multiply_parts<kColumns, Shape::kChunkTiles - 1>(part, odd, even);
      rings.x.template next<Shape::kChunkTiles>();
      release_weights();
      const auto first = factors[0], second = factors[1];
      if (chunk + 1 < unit.end_chunk) {
        rings.raw.await_full();
        read_and_decode<0>(chunk + 1, factors, even);
      }
      wgmma_await<0>();
      odd.hold();
      if constexpr (requires { first.unit; })
        add(sums, part, first.unit, second.unit);
      else
        add(sums, part, 1.0f, 1.0f);
      if constexpr (Shape::kSpans) take_off_offsets<kColumns>(sums, part, first, second);
      release_x(emptied);
    }
    emptied = kNone;
    finish(unit, sums);
  }

  /// Of a chunk whose last tile of x is at `emptied`.
  template <int kColumns>
  __device__ __forceinline__ void take_off_offsets(float (&sums)[kColumns / 2], float (&part)[kColumns / 2],
                                                   const LaneFactors<Format, kFull>& first,
                                                   const LaneFactors<Format, kFull>& second) {
    uint32_t offsets[4] = {first.offsets, second.offsets, first.offsets, second.offsets};
    const auto hold_offsets = [&] {
      asm volatile("" : "+r"(offsets[0]), "+r"(offsets[1]), "+r"(offsets[2]), "+r"(offsets[3])::"memory");
    };
    hold(part);
    hold_offsets();
    wgmma_begin();
    Wgmma<kColumns>::template run<false>(part, offsets,
                                         operand_32(rings.x.places + emptied * Shape::kPlace + Shape::kXTiles));
    wgmma_commit();
    wgmma_await<0>();
    hold_offsets();
    add(sums, part, first.offset_unit, second.offset_unit);
  }

  template <int kColumns>
  __device__ __forceinline__ void make(const Unit& unit) requires(!kFull) {
    float sums[kColumns / 2];
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) sums[i] = 0.0f;
    Frags even = {}, other = {};
    Frags& odd = Shape::kAhead ? other : even;
    Factors factors;
    rings.raw.await_full();
    read_and_decode<0>(unit.first_chunk, factors, even);
    for (uint32_t chunk = unit.first_chunk; chunk < unit.end_chunk; ++chunk) {
      Tile tile[Shape::kChunkTiles];  // the first: of the next chunk
      multiply<kColumns, 0>(sums, even, odd, [&] { read<1>(chunk, factors, tile[1]); });
      decode<1>(chunk, factors, tile[1], odd);
      if constexpr (Shape::kChunkTiles == 4) {
        multiply<kColumns, 1>(sums, odd, even, [&] { read<2>(chunk, factors, tile[2]); });
        decode<2>(chunk, factors, tile[2], even);
        multiply<kColumns, 2>(sums, even, odd, [&] { read<3>(chunk, factors, tile[3]); });
        decode<3>(chunk, factors, tile[3], odd);
      }
      const bool more = chunk + 1 < unit.end_chunk;
      const auto read_next = [&] {
        release_weights();
        if (!more) return;
        rings.raw.await_full();
        read<0>(chunk + 1, factors, tile[0]);
        if constexpr (Shape::kAhead) decode<0>(chunk + 1, factors, tile[0], even);
      };
      multiply<kColumns, Shape::kChunkTiles - 1>(sums, odd, even, read_next);
      if constexpr (!Shape::kAhead)
        if (more) decode<0>(chunk + 1, factors, tile[0], even);
      rings.x.template next<Shape::kChunkTiles>();
    }
    wgmma_await<0>();
    hold(sums);
    if constexpr (Shape::kAhead) {
      odd.hold();
      release_x(emptied);
      emptied = kNone;
    }
    finish(unit, sums);
  }

  template <int kSums>
  __device__ __forceinline__ void finish(const Unit& unit, float (&sums)[kSums]) {
    bool first_half = true, second_half = true;
    if constexpr (Shape::kMayPair)
      if (p.paired) {
        first_half = unit.part == 0, second_half = !first_half;
        first_half ? exchange<0>(sums) : exchange<1>(sums);
      }
    await_previous();
    rings.info.await_full();
    if (unit.first_row + Shape::kRows <= p.n) {
      if (first_half) store<true, 0>(unit, sums);
      if (second_half) store<true, 1>(unit, sums);
    } else {
      if (first_half) store<false, 0>(unit, sums);
      if (second_half) store<false, 1>(unit, sums);
    }
    __syncwarp();
    rings.info.empty[rings.info.place].arrive_as_warp(lane);
    rings.info.next();
  }
  /// Of a pair's sums each group adds up half of the columns. They are handed over where the other's x was.
  template <int kOwn, int kSums>
  __device__ __forceinline__ void exchange(float (&sums)[kSums]) {
    constexpr int kHalf = kSums / 2;
    static_assert(Shape::kMultipliers * Shape::kGroup * kHalf * 4 <= Shape::kPlaces * Shape::kPlace);
    float4* const place = reinterpret_cast<float4*>(rings.x.places) + threadIdx.x;
    const uint32_t to = address_in_group(place, 1 - kOwn);
    const float* const given = sums + (1 - kOwn) * kHalf;
    float* const own = sums + kOwn * kHalf;
    meet_cluster();  // no x is needed any more
#pragma unroll
    for (int i = 0; i < kHalf / 4; ++i)
      store_to_group(to + i * Shape::kMultipliers * Shape::kGroup * 16, given[4 * i], given[4 * i + 1],
                     given[4 * i + 2], given[4 * i + 3]);
    meet_cluster();
#pragma unroll
    for (int i = 0; i < kHalf / 4; ++i) {
      const float4 other = place[i * Shape::kMultipliers * Shape::kGroup];
      own[4 * i] += other.x, own[4 * i + 1] += other.y, own[4 * i + 2] += other.z, own[4 * i + 3] += other.w;
    }
  }

  /// One half of the columns. kWhole: whether all rows of the tile are there.
  template <bool kWhole, int kHalf, int kSums>
  __device__ __forceinline__ void store(const Unit& unit, const float (&sums)[kSums]) {
    const uint32_t row = unit.first_row + 16 * warp + g, pitch = p.n * uint32_t(sizeof(float));
    auto* const output =
        reinterpret_cast<uint8_t*>((p.partial ? p.partial + uint64_t(unit.part) * p.m * p.n : p.output) + row);
    const bool first = kWhole || row < p.n, second = kWhole || row + 8 < p.n, routed = p.routing.tiles;
    const float2* const units_of = reinterpret_cast<const float2*>(rings.info.here()) + t;
    const uint2* const slots = reinterpret_cast<const uint2*>(rings.info.here() + 4 * Shape::kTokens) + t;
#pragma unroll
    for (int j = kHalf * kSums / 8; j < (kHalf + 1) * kSums / 8; ++j) {
      const float2 by = units_of[4 * j];
      const uint32_t token = 8 * j + 2 * t;
      uint2 to = make_uint2(unit.first_x + token, unit.first_x + token + 1);
      if (routed) to = slots[4 * j];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float* const y = reinterpret_cast<float*>(output + uint64_t(c ? to.y : to.x) * pitch);
        const bool wanted = token + c < unit.tokens;
        if (wanted && first) y[0] = (c ? by.y : by.x) * sums[4 * j + c];
        if (wanted && second) y[8] = (c ? by.y : by.x) * sums[4 * j + 2 + c];
      }
    }
  }

  /// By the narrowest product that is wide enough.
  template <int kWidth = 1>
  __device__ __forceinline__ void make_any(const Unit& unit) {
    constexpr int kColumns = Shape::columns(kWidth);
    if constexpr (kWidth < Shape::kWidths) {
      if (unit.tokens <= kColumns)
        make<kColumns>(unit);
      else
        make_any<kWidth + 1>(unit);
    } else {
      make<kColumns>(unit);
    }
  }

  __device__ __forceinline__ void run() {
    for (uint32_t i = blockIdx.x; i < units.count; i += gridDim.x) make_any(units.at<Shape>(p, i));
    if constexpr (Shape::kShareX) meet_cluster();  // until then the other group may fill and release places here
  }

  /// No access to the sums moves across this point.
  template <int kSums>
  static __device__ __forceinline__ void hold(float (&sums)[kSums]) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) asm volatile("" : "+f"(sums[i])::"memory");
  }
};

template <class Format, bool kFull, class Plan>
__global__ void __launch_bounds__(WgmmaShape<Format, kFull, Plan>::kThreads, WgmmaShape<Format, kFull, Plan>::kResident)
    mat_mat_wgmma(const __grid_constant__ WgmmaProblem p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Shape = WgmmaShape<Format, kFull, Plan>;
  extern __shared__ __align__(1024) uint8_t memory[];
  const Rings<Shape> rings(memory);
  if (threadIdx.x < 32) rings.odd_bytes[threadIdx.x] = kOddBytes;
  if (threadIdx.x == 0) rings.init();
  __syncthreads();
  if constexpr (Shape::kShareX) meet_cluster();
  const Units units = Units::of<Shape>(p);
  if (threadIdx.x < Shape::kMultipliers * Shape::kGroup) {
    take_registers<Shape::kRegisters>();
    Multiplier<Format, kFull, Shape>{p, rings, units}.run();
  } else {
    release_registers<Shape::kLoaderRegisters>();
    const uint32_t thread = threadIdx.x - Shape::kMultipliers * Shape::kGroup;
    if constexpr (Shape::kGather) {
      if (thread < kGatherers) gather_x<Shape>(p, units, thread, rings.x, rings.info);
      if (thread == kGatherers) load_weights<Shape>(p, units, rings.raw);
    } else {
      if (thread == 0) {
        load_x<kFull, Shape>(p, units, rings.x, rings.info);
        if constexpr (Shape::kShareX) meet_cluster_alone();
      }
      if (thread == 32) load_weights<Shape>(p, units, rings.raw);
      if constexpr (Shape::kShareX) {
        const uint32_t packer = thread / 32 - 2;
        if (packer < Shape::kPackers && p.behind.taken) {
          await_previous();
          RowPackers<kFull, Shape>{p, thread % 32, rings.pieces + packer * Shape::kPieces * Shape::kPieceBytes,
                                   rings.piece_full + packer * Shape::kPieces}
              .run();
        }
      }
    }
  }
#endif
}

}  // namespace mlx_native::cuda
