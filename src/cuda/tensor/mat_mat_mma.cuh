// Products by mma.sync, for any machine from Ampere on and any shape.
//
// The weights are the tall operand (16 rows a warp), decoded from memory straight into its registers; the activations
// come from shared memory. A group makes 32 rows of W by up to kTokens rows of x: two bands of 16 rows, each by four
// warps that take every fourth tile of k, whose sums are added at the end.
//
//   lane 4 g + t of a warp decodes word t (codes 4 t to 4 t + 3) of each run of 16 in rows g and g + 8: these stand
//   where mma wants columns 2 t, 2 t + 1, 2 t + 8, 2 t + 9. x is packed in the same order.
#pragma once

#include "cuda/tensor/halfs.cuh"
#include "cuda/tensor/mma.cuh"
#include "cuda/tensor/problem.h"

namespace mlx_native::cuda {

struct MmaShape {
  static constexpr int kThreads = 256, kBand = 16, kBands = 2, kSlices = 4, kRows = kBand * kBands;
  static constexpr int kStageTiles = kSlices;  // one tile of k for each slice
  /// Bytes of one operand's stage.
  template <int kTokens>
  static constexpr int kStageBytes = kStageTiles* kTokens* int(kTileRowBytes);
  template <bool kFull, int kTokens>
  static constexpr int kSharedBytes = 2 * (kFull ? 2 : 1) * kStageBytes<kTokens>;
};

/// The weights of a tile of k in two rows, loaded but not yet decoded.
template <class Format, bool kFull>
struct WeightTile {
  static constexpr int kGroupsPerTile = int(kTileK) / Format::kGroup;
  uint32_t codes[4][2];
  Affine affine[kGroupsPerTile][2];

  __device__ void load(const uint8_t* const (&rows)[2], uint32_t tile, uint32_t k, uint32_t word) {
    using Block = typename Format::Block;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int run = 0; run < 4; ++run) {
        const uint32_t value = tile * kTileK + 16 * run;
        codes[run][r] = value < k ? Format::codes(WordReader<Format::kAlign>{int(word)}, block(rows[r], value),
                                                  int(value % Format::kValues / 16))
                                  : 0;
      }
#pragma unroll
      for (int group = 0; group < kGroupsPerTile; ++group) {
        const uint32_t value = tile * kTileK + Format::kGroup * group;
        affine[group][r] = value < k
                               ? Format::affine(block(rows[r], value), int(value % Format::kValues / Format::kGroup))
                               : Affine{0, 0};
      }
    }
  }
  __device__ void decode(int run, uint32_t (&high)[4], uint32_t (&low)[4]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const GroupDecode<Format, kFull> group(affine[16 * run / Format::kGroup][r]);
      Halfs h, l;
      if constexpr (kFull)
        group.template split<false>({{codes[run][r]}, ~0u, 0}, h, l);
      else
        h = group.high({{codes[run][r]}, ~0u, 0});
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        high[2 * i + r] = h.pair[i];
        if constexpr (kFull) low[2 * i + r] = l.pair[i];
      }
    }
  }

 private:
  static __device__ const typename Format::Block& block(const uint8_t* row, uint32_t value) {
    return reinterpret_cast<const typename Format::Block*>(row)[value / Format::kValues];
  }
};

template <class Format, bool kFull>
requires(Format::kPlain) struct WeightTile<Format, kFull> {
  float values[4][2][4];

  __device__ void load(const uint8_t* const (&rows)[2], uint32_t tile, uint32_t k, uint32_t word) {
#pragma unroll
    for (int run = 0; run < 4; ++run) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const uint32_t at = tile * kTileK + 16 * run + 4 * word + i;
          values[run][r][i] =
              at < k ? kWeightUnit * Format::value(reinterpret_cast<const typename Format::Block*>(rows[r])[at]) : 0.0f;
        }
      }
    }
  }
  __device__ void decode(int run, uint32_t (&high)[4], uint32_t (&low)[4]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float a = values[run][r][i], b = values[run][r][i + 2];
        high[2 * i + r] = rounded_pair(a, b);
        if constexpr (kFull) {
          low[2 * i + r] = lost_pair(a, b, high[2 * i + r]);
        }
      }
    }
  }
};

/// `rows` rows of packed x from `first_row` on, tiles of k from `tile` on: as they lie there.
template <bool kFull, int kTokens>
__device__ void stage_x(const PackedX& x, uint32_t first_row, uint32_t rows, uint32_t tile, uint8_t* stage) {
  constexpr int kBytes = MmaShape::kStageBytes<kTokens>, kPieces = kTokens * int(kTileRowBytes) / 16;
#pragma unroll
  for (int i = 0; i < MmaShape::kStageTiles * kPieces / MmaShape::kThreads; ++i) {
    const uint32_t piece = i * MmaShape::kThreads + threadIdx.x, t = piece / kPieces, at = piece % kPieces;
    if (tile + t < x.k_tiles && at < rows * kTileRowBytes / 16) {
      const uint64_t from = (uint64_t(tile + t) * x.rows + first_row) * kTileRowBytes + 16 * at;
      copy_16(stage + 16 * piece, x.high + from);
      if constexpr (kFull) copy_16(stage + kBytes + 16 * piece, x.low + from);
    }
  }
  commit_copies();
}

template <class Format, bool kFull, int kTokens>
__global__ void __launch_bounds__(MmaShape::kThreads, 2) mat_mat_mma(const __grid_constant__ MatMatProblem p) {
  using Shape = MmaShape;
  constexpr int kBlocks = kTokens / 8, kBytes = Shape::kStageBytes<kTokens>, kStage = (kFull ? 2 : 1) * kBytes;
  extern __shared__ __align__(128) uint8_t stages[];
  const uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint32_t band = threadIdx.x / 32 % Shape::kBands, slice = threadIdx.x / 32 / Shape::kBands;
  const uint32_t row_tiles = (p.n - 1) / Shape::kRows + 1;

  uint32_t first_x, tokens, first_row;
  const uint8_t* weight = p.weight;
  if (p.routing.tiles) {
    const uint32_t tile = blockIdx.x / row_tiles;
    if (tile >= *p.routing.n_tiles) return;
    const RoutedTile routed = p.routing.tiles[tile];
    first_x = routed.first, tokens = routed.rows, first_row = blockIdx.x % row_tiles * Shape::kRows;
    weight += routed.expert * p.expert_stride;
  } else {
    const uint32_t token_tiles = (p.m - 1) / kTokens + 1;
    first_x = blockIdx.x % token_tiles * kTokens, first_row = blockIdx.x / token_tiles * Shape::kRows;
    tokens = min(uint32_t(kTokens), p.m - first_x);
  }
  const uint32_t loaded = (tokens + 7) / 8 * 8;
  const uint32_t row = first_row + band * Shape::kBand + g;
  const uint8_t* const rows[2] = {weight + min(row, p.n - 1) * p.row_bytes,
                                  weight + min(row + 8, p.n - 1) * p.row_bytes};

  float sums[kBlocks][4] = {};
  WeightTile<Format, kFull> now, next;
  if (slice < p.x.k_tiles) now.load(rows, slice, p.k, t);
  stage_x<kFull, kTokens>(p.x, first_x, loaded, 0, stages);
  uint32_t at = 0;
  for (uint32_t tile = 0; tile < p.x.k_tiles; tile += Shape::kStageTiles, at ^= 1) {
    await_copies<0>();
    __syncthreads();
    if (tile + Shape::kStageTiles < p.x.k_tiles)
      stage_x<kFull, kTokens>(p.x, first_x, loaded, tile + Shape::kStageTiles, stages + (at ^ 1) * kStage);
    if (tile + slice >= p.x.k_tiles) continue;
    const bool more = tile + slice + Shape::kStageTiles < p.x.k_tiles;
    if (more) next.load(rows, tile + slice + Shape::kStageTiles, p.k, t);
    const uint8_t* const x = stages + at * kStage + slice * kTokens * kTileRowBytes + g * kTileRowBytes + t * 4;
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      uint32_t high[4], low[4];
      now.decode(run, high, low);
      const uint32_t piece = ((2 * run) ^ g) * 16, second = ((2 * run + 1) ^ g) * 16;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        if (8 * j >= loaded) break;
        const uint8_t* const fragment = x + j * 8 * kTileRowBytes;
        const auto word = [&](uint32_t at) { return *reinterpret_cast<const uint32_t*>(fragment + at); };
        const uint32_t b0 = word(piece), b1 = word(second);
        mma_m16n8k16(sums[j], high, b0, b1);
        if constexpr (kFull) {
          mma_m16n8k16(sums[j], high, word(kBytes + piece), word(kBytes + second));
          mma_m16n8k16(sums[j], low, b0, b1);
        }
      }
    }
    if (more) now = next;
  }

  // The slices' sums, [slice][token][row], are added in the order of slices.
  constexpr int kPitch = Shape::kRows + 1;
  static_assert(Shape::kSlices * kTokens * kPitch * 4 <= Shape::kSharedBytes<kFull, kTokens>);
  float* const partial = reinterpret_cast<float*>(stages);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kBlocks; ++j) {
#pragma unroll
    for (int c = 0; c < 4; ++c)
      partial[(slice * kTokens + 8 * j + 2 * t + c % 2) * kPitch + band * Shape::kBand + g + c / 2 * 8] = sums[j][c];
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < tokens * Shape::kRows; i += Shape::kThreads) {
    const uint32_t token = i / Shape::kRows, r = i % Shape::kRows;
    if (first_row + r >= p.n) continue;
    float sum = 0.0f;
#pragma unroll
    for (int s = 0; s < Shape::kSlices; ++s) sum += partial[(s * kTokens + token) * kPitch + r];
    const uint32_t to = p.routing.tiles ? p.routing.slot_of[first_x + token] : first_x + token;
    p.output[uint64_t(to) * p.n + first_row + r] = p.x.unit[first_x + token] * sum;
  }
}

}  // namespace mlx_native::cuda
