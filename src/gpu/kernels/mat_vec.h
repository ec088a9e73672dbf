// Products of weight rows with few rows of activations, dense and routed to experts.
//
// A group of 8 simdgroups makes 16 rows of the result: each simdgroup two weight rows, whose blocks its lanes share.
// The activations lie in scratch, a tile at a time, because every simdgroup and every weight row needs them.
#pragma once

#include "args/matmul.h"
#include "gpu/kernels/decode.h"

namespace mlx_native::gpu {

struct MatVecShape {
  K_STATIC int kSimdgroups = 8;
  K_STATIC int kThreads = 32 * kSimdgroups;
  K_STATIC int kRows = 2;  // of weights, per simdgroup
  K_STATIC int kGroupRows = kSimdgroups * kRows;
  // Activations in scratch: 4096 values as 1, 2 or 4 rows. Four values of padding after every 64 spread the 16-byte
  // reads of eight lanes, 16 or 64 values apart, over all 32 banks.
  K_STATIC int kTileValues = 4096;
  K_STATIC int kScratchBytes = kTileValues / 64 * 68 * 4;
  // Values of a plain format that a lane loads at a time from each row: enough for the memory's latency.
  K_STATIC int kAhead = 8, kChunk = 32 * kAhead;
};

/// Place of value `i` of a staged row.
K_FN uint32_t staged(uint32_t i) { return i + i / 64 * 4; }

/// Up to kM rows of x times kGroupRows rows of W from `first_row` on. The rows of input and output lie k and n apart.
struct MatVecProblem {
  const K_GLOBAL uint8_t* weight;
  const K_GLOBAL float* input;
  K_GLOBAL float* output;
  uint64_t row_bytes;
  uint32_t m, n, k, first_row;
};

struct WeightRows {
  const K_GLOBAL uint8_t* row[MatVecShape::kRows];
};

template <int kM>
struct MatVecSums {
  float v[kM][MatVecShape::kRows];
};

/// What a lane multiplies of a chunk of plain weights: values `lane`, lane + 32 and so on of each row.
struct MatVecChunk {
  float v[MatVecShape::kAhead][MatVecShape::kRows];
};

/// The kChunk values from `first` on; zeros from `count` on.
template <class Format, class Thread>
K_FN MatVecChunk load_chunk(Thread t, WeightRows weights, uint32_t first, uint32_t count) {
  MatVecChunk chunk;
  K_UNROLL
  for (int j = 0; j < MatVecShape::kAhead; ++j) {
    const uint32_t i = first + t.lane() + 32 * uint32_t(j);
    K_UNROLL
    for (int r = 0; r < MatVecShape::kRows; ++r)
      chunk.v[j][r] =
          i < count ? Format::value(load_as<typename Format::Block>(weights.row[r] + i * uint32_t(Format::kAlign)))
                    : 0.0f;
  }
  return chunk;
}

/// Adds a chunk's products; x is zero behind the last value.
template <int kM, class Thread>
K_FN MatVecSums<kM> add_chunk(Thread t, const MatVecChunk& chunk, uint32_t first, const K_SHARED float* x,
                              MatVecSums<kM> sums) {
  constexpr int kRows = MatVecShape::kRows, kStride = MatVecShape::kTileValues / kM / 64 * 68;
  K_UNROLL
  for (int j = 0; j < MatVecShape::kAhead; ++j) {
    K_UNROLL
    for (int m = 0; m < kM; ++m) {
      const float value = x[m * kStride + staged(first + t.lane() + 32 * uint32_t(j))];
      K_UNROLL
      for (int r = 0; r < kRows; ++r) sums.v[m][r] = multiply_add(chunk.v[j][r], value, sums.v[m][r]);
    }
  }
  return sums;
}

/// Adds the products of `count` values: those in scratch, and those from `weights` on.
template <class Format, int kM, class Thread>
K_FN MatVecSums<kM> add_tile(Thread t, WeightRows weights, uint32_t count, const K_SHARED float* x,
                             MatVecSums<kM> sums) {
  constexpr int kRows = MatVecShape::kRows, kStride = MatVecShape::kTileValues / kM / 64 * 68;
  if constexpr (Format::kPlain) {
    constexpr uint32_t kChunk = MatVecShape::kChunk;
    MatVecChunk next = load_chunk<Format>(t, weights, 0, count);
    for (uint32_t first = 0; first < count; first += kChunk) {
      const MatVecChunk chunk = next;
      if (first + kChunk < count) next = load_chunk<Format>(t, weights, first + kChunk, count);
      sums = add_chunk<kM>(t, chunk, first, x, sums);
    }
  } else {
    using Block = typename Format::Block;
    using Share = Deal<Format>;
    const uint32_t parts = count / Format::kValues * Share::kParts;
    for (uint32_t p = t.lane(); p < parts; p += 32) {
      const uint32_t index = p / Share::kParts;
      const int part = int(p % Share::kParts), first_word = Share::word(part);
      const typename Share::Reader reader{first_word};
      Words<Share::kWords> codes[kRows][Share::kRuns];
      Affine affine[kRows][Share::kRuns];
      K_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const K_GLOBAL Block& block = reinterpret_cast<const K_GLOBAL Block*>(weights.row[r])[index];
        K_UNROLL
        for (int i = 0; i < Share::kRuns; ++i) {
          const int run = Share::run(part, i);
          codes[r][i] = Format::codes(reader, block, run);
          affine[r][i] = Format::affine(block, 16 * run / Format::kGroup);
        }
      }
      K_UNROLL
      for (int i = 0; i < Share::kRuns; ++i) {
        const uint32_t place =
            staged(index * Format::kValues + 16 * uint32_t(Share::run(part, i))) + 4 * uint32_t(first_word);
        float dot[kM][kRows] = {}, sum_x[kM] = {};
        K_UNROLL
        for (int j = 0; j < Share::kWords; ++j) {
          Four xs[kM];
          K_UNROLL
          for (int m = 0; m < kM; ++m) {
            xs[m] = *reinterpret_cast<const K_SHARED Four*>(x + m * kStride + place + 4 * j);
            if constexpr (Format::kHasOffset) sum_x[m] += (xs[m].v[0] + xs[m].v[1]) + (xs[m].v[2] + xs[m].v[3]);
          }
          K_UNROLL
          for (int r = 0; r < kRows; ++r) {
            K_UNROLL
            for (int c = 0; c < 4; ++c) {
              const float code = unbias<Format>(code_above_2_23(codes[r][i].word[j], c));
              K_UNROLL
              for (int m = 0; m < kM; ++m) dot[m][r] = multiply_add(code, xs[m].v[c], dot[m][r]);
            }
          }
        }
        K_UNROLL
        for (int m = 0; m < kM; ++m) {
          K_UNROLL
          for (int r = 0; r < kRows; ++r) {
            sums.v[m][r] = multiply_add(affine[r][i].scale, dot[m][r], sums.v[m][r]);
            if constexpr (Format::kHasOffset) sums.v[m][r] = multiply_add(affine[r][i].offset, sum_x[m], sums.v[m][r]);
          }
        }
      }
    }
  }
  return sums;
}

/// Bytes from the start of a row to value `i`, which starts a block.
template <class Format>
K_FN uint64_t bytes_to(uint32_t i) {
  return uint64_t(i / Format::kValues) * sizeof(typename Format::Block);
}

template <class Format, int kM, class Thread>
K_FN void mat_vec_rows(Thread t, MatVecProblem p, K_SHARED float* scratch) {
  using Shape = MatVecShape;
  constexpr uint32_t kTile = Shape::kTileValues / kM, kStride = kTile / 64 * 68;
  const uint32_t first = p.first_row + t.simdgroup() * Shape::kRows;
  MatVecSums<kM> sums = {};
  for (uint32_t start = 0; start < p.k; start += kTile) {
    const uint32_t count = p.k - start < kTile ? p.k - start : kTile;
    t.barrier();
    K_UNROLL
    for (uint32_t j = 0; j < kTile / Shape::kThreads; ++j) {
      const uint32_t i = t.thread_in_group() + j * Shape::kThreads;
      K_UNROLL
      for (uint32_t m = 0; m < kM; ++m)
        scratch[m * kStride + staged(i)] = i < count && m < p.m ? p.input[uint64_t(m) * p.k + start + i] : 0.0f;
    }
    t.barrier();
    if (first < p.n) {
      WeightRows weights;
      K_UNROLL
      for (uint32_t r = 0; r < Shape::kRows; ++r) {
        const uint32_t row = first + r < p.n ? first + r : p.n - 1;
        weights.row[r] = p.weight + row * p.row_bytes + bytes_to<Format>(start);
      }
      sums = add_tile<Format, kM>(t, weights, count, scratch, sums);
    }
  }
  K_UNROLL
  for (uint32_t m = 0; m < kM; ++m) {
    K_UNROLL
    for (uint32_t r = 0; r < Shape::kRows; ++r) {
      const float sum = t.simd_sum(sums.v[m][r]);
      if (t.lane() == 0 && m < p.m && first + r < p.n) p.output[uint64_t(m) * p.n + first + r] = sum;
    }
  }
}

/// Units of kGroupRows rows of W by kM rows of x; the units that share weights are neighbours.
template <class Format, int kM, class Thread>
K_FN void mat_vec(Thread t, K_CONST const MatmulArgs& a, K_SHARED float* scratch) {
  const uint64_t m_tiles = (a.m - 1) / kM + 1;
  const uint64_t units = m_tiles * ((a.n - 1) / MatVecShape::kGroupRows + 1);
  for (uint64_t unit = t.group(); unit < units; unit += t.groups()) {
    const uint32_t m0 = uint32_t(unit % m_tiles) * kM;
    const uint32_t row = uint32_t(unit / m_tiles) * MatVecShape::kGroupRows;
    mat_vec_rows<Format, kM>(
        t,
        {a.weight, a.input + uint64_t(m0) * a.k, a.output + uint64_t(m0) * a.n, a.row_bytes, a.m - m0, a.n, a.k, row},
        scratch);
  }
}

/// Units of kGroupRows rows of the expert of one slot.
template <class Format, class Thread>
K_FN void mat_vec_id(Thread t, K_CONST const MatmulIdArgs& a, K_SHARED float* scratch) {
  const uint64_t row_tiles = (a.n - 1) / MatVecShape::kGroupRows + 1;
  const uint64_t units = row_tiles * a.n_tokens * a.top_k;
  for (uint64_t unit = t.group(); unit < units; unit += t.groups()) {
    const uint64_t slot = unit / row_tiles;
    const uint32_t row = uint32_t(unit % row_tiles) * MatVecShape::kGroupRows, expert = a.ids[slot];
    if (expert < a.n_experts) {
      mat_vec_rows<Format, 1>(t,
                              {a.weight + expert * a.expert_stride, a.input + slot / a.top_k * a.k,
                               a.output + slot * a.n, a.row_bytes, 1, a.n, a.k, row},
                              scratch);
    } else {
      const uint32_t i = row + t.thread_in_group();
      if (t.thread_in_group() < MatVecShape::kGroupRows && i < a.n)
        a.output[slot * a.n + i] = bits_to_float(0x7fc00000u);
    }
  }
}

}  // namespace mlx_native::gpu
