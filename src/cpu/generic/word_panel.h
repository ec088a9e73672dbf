// Weight rows as a tile of 16-bit integers in L1, for products with x in such integers.
#pragma once

#include "cpu/generic/columns.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/word_tile.h"

namespace mlx_native::cpu::MLXN_ISA {

/// A way of mat_mat.h, for formats of which kHasIntegerUnits.
template <class Format>
struct WordPanel {
  static constexpr bool kFolds = HasGroupBytes<Format>;  // scales of groups into codes
  static constexpr int32_t kLargestScale = !kFolds ? 1 : Format::kHasOffset ? 63 : 128;
  static constexpr int32_t kLargestWeight = kLargestScale * (Format::kBias ? Format::kBias : (1 << Format::kBits) - 1);
  /// Groups whose products add up to less than 2^31, or would but for x of which all values are large.
  static constexpr int kUnit = kFolds && Format::kHasOffset && 64 * 32767ll * kLargestWeight < 1ll << 31 ? 64 : 32;
  static constexpr bool kOfUnit = kFolds && !Format::kHasOffset;
  static_assert(kOfUnit || int64_t{kUnit} * 32767 * kLargestWeight < 1ll << 31);
  using Tile = WordTile<kUnit, Format::kHasOffset, kOfUnit>;
  static constexpr Precision kAccuracy = Precision::Half;
  static constexpr int kVectors = Tile::kVectors, kColumns = Tile::kColumns, kTileRows = Tile::kTileRows;
  static constexpr int kLeastRows = kLanes == 16 ? 32 : 3;  // below it other ways are faster
  static constexpr bool kForMany = true;
  static constexpr int kLength = 512, kBlockColumns = 128;
  static constexpr bool kMultiplyAsks = true;  // for what is `ahead`
  static constexpr std::size_t kBytes = kLength / kUnit * sizeof(typename Tile::Weights);

  using X = const typename Tile::X*;
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = Tile::kBlock;
  static constexpr uint64_t row_bytes(uint64_t k) { return Tile::row_bytes(k); }
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
    Tile::prepare(x, k, begin, end, kLargestWeight, reinterpret_cast<typename Tile::X*>(to));
  }
  static K_FN X part(const uint8_t* row, uint64_t k) { return reinterpret_cast<X>(row) + k / kUnit; }

  static void decode(const uint8_t* __restrict rows, uint64_t row_stride, int length, uint8_t* __restrict panel, int v,
                     const Ahead& ahead) {
    constexpr int kGroups = Format::kValues / Format::kGroup, kRuns = Format::kValues / 16;
    constexpr int kUnits = Format::kValues / kUnit, kRunsOfUnit = kUnit / 16;
    auto* to = reinterpret_cast<typename Tile::Weights*>(panel);
    const int blocks = length / Format::kValues;
    Ahead::Steps asking = ahead.in(blocks * kRuns);
    for (int b = 0; b < blocks; ++b, to += kUnits) {
      const auto& block = blocks_of<Format>(rows)[b];
      const uint64_t stride = opaque(row_stride);  // else the places of all rows are kept, in too few registers
      const ColumnReader reader{stride};
      [[maybe_unused]] UIntVec scales[kGroups];
      if constexpr (kFolds) {
        const auto bytes = Format::group_bytes(reader, block);
        MLXN_UNROLL
        for (int u = 0; u < kUnits; ++u) to[u].scale[v] = bytes.scale_unit;
        MLXN_UNROLL
        for (int g = 0; g < kGroups; ++g) {
          scales[g] = in_both_halves(signed_byte(bytes.scales[g / 4], g % 4));
          if constexpr (Format::kHasOffset)
            to[g * 32 / kUnit].offset[g % Tile::kOffsets][v] =
                to_float(signed_byte(bytes.offsets[g / 4], g % 4)) * bytes.offset_unit;
        }
      } else {
        const ColumnFactors<Format> factors(block, stride);
        MLXN_UNROLL
        for (int g = 0; g < kGroups; ++g) {
          to[g].scale[v] = factors.scale[g];
          if constexpr (Format::kHasOffset) to[g].offset[0][v] = factors.offset[g];
        }
      }
      MLXN_UNROLL
      for (int run = 0; run < kRuns; ++run) {
        asking.next();
        const Words codes = Format::codes(reader, block, run);
        auto& unit = to[run / kRunsOfUnit];
        MLXN_UNROLL
        for (int j = 0; j < 4; ++j) {
          UIntVec pairs[2];
          widen_bytes(codes.word[j], pairs);
          MLXN_UNROLL
          for (int half = 0; half < 2; ++half) {
            Halves values = reinterpret_cast<Halves>(pairs[half]) - uint16_t(Format::kBias);
            if constexpr (kFolds) values *= reinterpret_cast<Halves>(scales[run * 16 / Format::kGroup]);
            unit.values[8 * (run % kRunsOfUnit) + 2 * j + half][v] = reinterpret_cast<UIntVec>(values);
          }
        }
      }
    }
  }

  static void multiply(int m, const uint8_t* panel, int length, const X* x, Vec (*y)[kVectors], const Ahead& ahead) {
    Tile::multiply(m, reinterpret_cast<const typename Tile::Weights*>(panel), length / kUnit, x, y, ahead);
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
