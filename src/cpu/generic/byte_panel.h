// Weight rows as a tile of codes in L1, for products with x in integers.
#pragma once

#include "cpu/generic/byte_tile.h"
#include "cpu/generic/columns.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/rounding.h"

namespace mlx_native::cpu::MLXN_ISA {

/// A way of mat_mat.h.
template <class Format, int Planes>
struct BytePanel {
  using Tile = ByteTileOf<Format, Planes>;
  static constexpr int kChain = Tile::kChain;
  static_assert(kChain != kSignedCodes || Format::kBias == 128);
  static constexpr Precision kAccuracy = kAccuracyOfBytes<Planes>;
  static constexpr int kVectors = Tile::kVectors, kColumns = Tile::kColumns, kTileRows = Tile::kTileRows;
  static constexpr int kLeastRows = 2;  // below it another way is faster
  static constexpr int kLength = 512, kBlockColumns = 128;
  static constexpr bool kMultiplyAsks = true;  // for what is `ahead`
  static constexpr std::size_t kBytes = kLength / Format::kGroup * sizeof(typename Tile::Weights);

  using X = const typename Tile::X*;
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = Tile::kBlock;
  static constexpr uint64_t row_bytes(uint64_t k) { return Tile::row_bytes(k); }
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
    Tile::prepare(x, k, begin, end, most(), kChain == kSignedCodes ? 0 : Format::kBias,
                  reinterpret_cast<typename Tile::X*>(to));
  }
  static K_FN X part(const uint8_t* row, uint64_t k) { return reinterpret_cast<X>(row) + k / Format::kGroup; }

  static void decode(const uint8_t* __restrict rows, uint64_t row_stride, int length, uint8_t* __restrict panel, int v,
                     const Ahead& ahead) {
    constexpr int kGroups = Format::kValues / Format::kGroup, kWords = Format::kGroup / 4;
    constexpr int kRuns = Format::kValues / 16;
    auto* to = reinterpret_cast<typename Tile::Weights*>(panel);
    const int blocks = length / Format::kValues;
    Ahead::Steps asking = ahead.in(blocks * kRuns);
    for (int b = 0; b < blocks; ++b, to += kGroups) {
      const auto& block = blocks_of<Format>(rows)[b];
      const uint64_t stride = opaque(row_stride);  // else the places of all rows are kept, in too few registers
      MLXN_UNROLL
      for (int run = 0; run < kRuns; ++run) {
        asking.next();
        Words codes = Format::codes(ColumnReader{stride}, block, run);
        if constexpr (kChain == kSignedCodes) codes = codes ^ 0x80808080u;
        MLXN_UNROLL
        for (int j = 0; j < 4; ++j) to[4 * run / kWords].codes[4 * run % kWords + j][v] = codes.word[j];
      }
      const ColumnFactors<Format> factors(block, stride);
      MLXN_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        to[g].scale[v] = factors.scale[g];
        if constexpr (Format::kHasOffset) to[g].offset[v] = factors.offset[g];
      }
    }
  }

  static void multiply(int m, const uint8_t* panel, int length, const X* x, Vec (*y)[kVectors], const Ahead& ahead) {
    Tile::multiply(m, reinterpret_cast<const typename Tile::Weights*>(panel), length / Format::kGroup, x, y, ahead);
  }

 private:
  /// So that the sum of a group stays within 32 bits.
  static constexpr int32_t most() {
    constexpr int32_t kOfBytes[] = {127, 127 << 8, 127 << 16};
    constexpr int32_t kLargestCode = Format::kBias ? Format::kBias : (1 << Format::kBits) - 1;
    constexpr int32_t kOfSum = 0x7fffffff / (Format::kGroup * kLargestCode) - 1;
    return kOfBytes[Planes - 1] < kOfSum ? kOfBytes[Planes - 1] : kOfSum;
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
