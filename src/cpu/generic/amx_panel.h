// Weight rows as a tile of bytes in L1, for products by matrix instructions.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/generic/amx_tile.h"
#include "cpu/generic/columns.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/rounding.h"

namespace mlx_native::cpu::MLXN_ISA {

/// With fewer rows of x vectors are as fast.
inline constexpr uint32_t kLeastRowsOfTiles = 64;

/// A way of mat_mat.h, for dense products.
template <class Format, int Planes>
struct AmxPanel {
  static constexpr bool kFolds = HasGroupBytes<Format>;  // scales of groups into codes
  using Tile = AmxTile<kFolds ? Format::kValues : Format::kGroup, Format::kHasOffset, Planes>;
  static constexpr Precision kAccuracy = kAccuracyOfBytes<Planes>;
  static constexpr int kVectors = Tile::kVectors, kColumns = Tile::kColumns, kTileRows = 16;
  static constexpr int kLength = Tile::kLength, kBlockColumns = 128;
  static constexpr bool kMultiplyAsks = false;
  static constexpr std::size_t kBytes = kVectors * (kLength / Tile::kUnit) * sizeof(typename Tile::Weights);

  using X = const typename Tile::X*;
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = Tile::kBlock;
  static constexpr uint64_t row_bytes(uint64_t k) { return Tile::row_bytes(k); }
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
    Tile::prepare(x, k, begin, end, reinterpret_cast<typename Tile::X*>(to));
  }
  static K_FN X part(const uint8_t* row, uint64_t k) { return reinterpret_cast<X>(row) + k / Tile::kBlock; }

  static void decode(const uint8_t* __restrict rows, uint64_t stride, int length, uint8_t* __restrict panel, int v,
                     const Ahead& ahead) {
    constexpr int kGroups = Format::kValues / Format::kGroup, kRuns = Format::kValues / 16;
    constexpr int kUnits = Format::kValues / Tile::kUnit, kRunsOfUnit = Tile::kUnit / 16;
    auto* to = reinterpret_cast<typename Tile::Weights*>(panel) + v * (length / Tile::kUnit);
    const int blocks = length / Format::kValues;
    Ahead::Steps asking = ahead.in(blocks * kRuns);
    for (int b = 0; b < blocks; ++b, to += kUnits) {
      const auto& block = blocks_of<Format>(rows)[b];
      const ColumnReader reader{stride};
      [[maybe_unused]] UIntVec scales[kGroups];
      if constexpr (kFolds) {
        const auto bytes = Format::group_bytes(reader, block);
        to->scale = bytes.scale_unit;
        MLXN_UNROLL
        for (int g = 0; g < kGroups; ++g) {
          scales[g] = in_both_halves(signed_byte(bytes.scales[g / 4], g % 4));
          if constexpr (Format::kHasOffset)
            to->offset[g] = to_float(signed_byte(bytes.offsets[g / 4], g % 4)) * bytes.offset_unit;
        }
      } else {
        const ColumnFactors<Format> factors(block, stride);
        for (int g = 0; g < kGroups; ++g) {
          to[g].scale = factors.scale[g];
          if constexpr (Format::kHasOffset) to[g].offset[0] = factors.offset[g];
        }
      }
      MLXN_UNROLL
      for (int run = 0; run < kRuns; ++run) {
        asking.next();
        const Words codes = Format::codes(reader, block, run);
        auto& unit = to[run / kRunsOfUnit];
        MLXN_UNROLL
        for (int j = 0; j < 4; ++j) {
          const int at = 4 * (run % kRunsOfUnit) + j;
          if constexpr (kFolds)
            multiply_codes(codes.word[j], scales[run * 16 / Format::kGroup], unit.bytes[0][at], unit.bytes[1][at]);
          else
            unit.bytes[0][at] = less_bias(codes.word[j]);
        }
      }
    }
  }

  /// Of all rows of a block of y: the sums over this panel are stored, or added.
  static void multiply(int m, const uint8_t* panel, int length, const X* x, float* y, bool add) {
    Tile::multiply(m, reinterpret_cast<const typename Tile::Weights*>(panel), length / Tile::kUnit, x, y, add);
  }
  static void begin() { Tile::begin(); }
  static void end() { Tile::end(); }

 private:
  using Bytes = uint8_t __attribute__((vector_size(sizeof(UIntVec))));

  static K_FN UIntVec less_bias(UIntVec codes) {
    return reinterpret_cast<UIntVec>(reinterpret_cast<Bytes>(codes) - uint8_t(Format::kBias));
  }
  /// 256 * high + low = scale * (code - bias), with signed bytes in `high`.
  static K_FN void multiply_codes(UIntVec codes, UIntVec scale, UIntVec& high, UIntVec& low) {
    constexpr uint32_t kEven = 0x00ff00ffu, kOdd = 0xff00ff00u;
    const auto product = [&](UIntVec halves) {
      return reinterpret_cast<UIntVec>((reinterpret_cast<Halves>(halves) - uint16_t(Format::kBias)) *
                                       reinterpret_cast<Halves>(scale));
    };
    const UIntVec even = product(codes & kEven), odd = product(codes >> 8 & kEven);
    low = (even & kEven) | (odd << 8 & kOdd);
    high = (even >> 8 & kEven) | (odd & kOdd);
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
