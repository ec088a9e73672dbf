// A tile of 16-bit floats as pairs of bfloat16s in L1, and its product with rows of x.
#pragma once

#include <type_traits>

#include "cpu/generic/bfloat_tile.h"
#include "cpu/generic/columns.h"
#include "formats/bf16.h"

namespace mlx_native::cpu::MLXN_ISA {

/// A way of mat_mat.h, for F16 and BF16.
template <class Format>
struct BfloatPanel : BfloatRows {
  static constexpr Precision kAccuracy = Precision::Int8;
  static constexpr int kVectors = BfloatTile::kVectors, kColumns = BfloatTile::kColumns;
  static constexpr int kTileRows = BfloatTile::kTileRows;
  static constexpr int kLeastRows = 4;  // below it another way is faster
  static constexpr int kLength = 512;
  static constexpr bool kMultiplyAsks = true;  // for what is `ahead`
  static constexpr std::size_t kBytes = kLength / 2 * sizeof(BfloatTile::Weights);

  using X = const uint32_t*;
  static K_FN X part(const uint8_t* row, uint64_t k) { return reinterpret_cast<X>(row) + k / 2; }

  static void decode(const uint8_t* __restrict rows, uint64_t row_stride, int length, uint8_t* __restrict panel, int v,
                     const Ahead& ahead) {
    constexpr int kOfLine = 64 / sizeof(Block);
    const auto* const from = reinterpret_cast<const Block*>(rows);
    auto* to = reinterpret_cast<BfloatTile::Weights*>(panel);
    Ahead::Steps asking = ahead.in((length + kOfLine - 1) / kOfLine);
    for (int i = 0; i < length; i += kOfLine, to += kOfLine / 2) {
      asking.next();
      const uint64_t stride = opaque(row_stride);  // else the places of all rows are kept, in too few registers
      decode_line(from + i, stride, length - i < kOfLine ? length - i : kOfLine, to, v);
    }
  }

  static void multiply(int m, const uint8_t* panel, int length, const X* x, Vec (*y)[kVectors], const Ahead& ahead) {
    BfloatTile::multiply(m, reinterpret_cast<const BfloatTile::Weights*>(panel), (length + 1) / 2, x, y, ahead);
  }

 private:
  using Block = typename Format::Block;

  static K_FN void decode_line(const Block* from, uint64_t stride, int length, BfloatTile::Weights* to, int v) {
    constexpr int kAtOnce = 16 / sizeof(Block);
    for (; length >= kAtOnce; length -= kAtOnce, from += kAtOnce, to += kAtOnce / 2)
      decode_run(reinterpret_cast<const uint8_t*>(from), stride, to, v);
    if (length == 0) return;
    // The last values of the rows, zeros behind them.
    Block last[kLanes][kAtOnce] = {};
    for (int lane = 0; lane < kLanes; ++lane)
      __builtin_memcpy(last[lane], reinterpret_cast<const uint8_t*>(from) + lane * stride, length * sizeof(Block));
    BfloatTile::Weights run[kAtOnce / 2];
    decode_run(reinterpret_cast<const uint8_t*>(last), sizeof last[0], run, v);
    for (int i = 0; i < (length + 1) / 2; ++i) to[i].pairs[v] = run[i].pairs[v];
  }

  /// 16 bytes of each row.
  static K_FN void decode_run(const uint8_t* from, uint64_t stride, BfloatTile::Weights* to, int v) {
    UIntVec words[4];
    load_columns(from, stride, words);
    MLXN_UNROLL
    for (int j = 0; j < 4; ++j) {
      if constexpr (std::is_same_v<Format, BF16>)
        to[j].pairs[v] = words[j];
      else
        to[j].pairs[v] =
            to_bfloat_pairs(Format::value(HalfLanes{words[j] & 0xffffu}), Format::value(HalfLanes{words[j] >> 16}));
    }
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
