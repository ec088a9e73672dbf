// A tile of 16-bit floats as pairs of bfloat16s in L1, and its product with rows of x.
#pragma once

#include "cpu/generic/bfloat_tile.h"
#include "cpu/generic/columns.h"

namespace mlx_native::cpu::MLXN_ISA {

/// A way of mat_mat.h, for F16 and BF16.
template <class Format>
struct BfloatPanel : BfloatRows {
  static constexpr Precision kAccuracy = Precision::Int8;
  static constexpr int kVectors = BfloatTile::kVectors, kColumns = BfloatTile::kColumns;
  static constexpr int kTileRows = BfloatTile::kTileRows;
  static constexpr int kLeastRows = 4;  // below it another way is faster
  static constexpr int kLength = 512, kBlockColumns = 128;
  static constexpr bool kMultiplyAsks = true;  // for what is `ahead`
  static constexpr std::size_t kBytes = kLength / 2 * sizeof(BfloatTile::Weights);

  using X = const uint32_t*;
  static K_FN X part(const uint8_t* row, uint64_t k) { return reinterpret_cast<X>(row) + k / 2; }

  static void decode(const uint8_t* __restrict rows, uint64_t row_stride, int length, uint8_t* __restrict panel, int v,
                     const Ahead& ahead) {
    const auto* from = reinterpret_cast<const uint16_t*>(rows);
    auto* to = reinterpret_cast<BfloatTile::Weights*>(panel);
    Ahead::Steps asking = ahead.in((length + kOfLine - 1) / kOfLine);
    for (; length >= kOfLine; length -= kOfLine, from += kOfLine, to += kOfLine / 2) {
      asking.next();
      const uint64_t stride = opaque(row_stride);  // else the places of all rows are kept, in too few registers
      decode_line(reinterpret_cast<const uint8_t*>(from), stride, to, v);
    }
    if (length == 0) return;
    // The last values of the rows, zeros behind them.
    uint16_t last[kLanes][kOfLine] = {};
    for (int lane = 0; lane < kLanes; ++lane)
      __builtin_memcpy(last[lane], reinterpret_cast<const uint8_t*>(from) + lane * row_stride,
                       length * sizeof(uint16_t));
    decode_line(reinterpret_cast<const uint8_t*>(last), sizeof last[0], to, v);
  }

  static void multiply(int m, const uint8_t* panel, int length, const X* x, Vec (*y)[kVectors], const Ahead& ahead) {
    BfloatTile::multiply(m, reinterpret_cast<const BfloatTile::Weights*>(panel), (length + 1) / 2, x, y, ahead);
  }

 private:
  static constexpr int kOfLine = 2 * kLanes;
  static_assert(kLength % kOfLine == 0);

  static K_FN void decode_line(const uint8_t* from, uint64_t stride, BfloatTile::Weights* to, int v) {
    UIntVec line[kLanes];
    if constexpr (!std::is_same_v<Format, BF16>) {
      for (int lane = 0; lane < kLanes; ++lane)
        line[lane] = load_bfloats<Format>(reinterpret_cast<const uint16_t*>(from + lane * stride));
      from = reinterpret_cast<const uint8_t*>(line);
      stride = sizeof line[0];
    }
    UIntVec words[kLanes];
    load_square(from, stride, words);
    MLXN_UNROLL
    for (int j = 0; j < kLanes; ++j) to[j].value[v] = words[j];
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
