// A tile of weight rows as floats in L1, and its product with rows of x.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/generic/columns.h"
#include "cpu/generic/dequantize.h"
#include "cpu/generic/float_tile.h"

namespace mlx_native::cpu::MLXN_ISA {

/// How FloatPanel reads parts of `Length` values of rows of x: where they are, or, if a tile has more rows than a set
/// of the L1 has lines, copied side by side. For where k is a multiple of 1024, equal places of all rows share a set.
template <int Length, bool Copied>
struct FloatRows {
  using X = const float*;
  static constexpr bool kPrepares = false;
  static K_FN X part(const float* row, uint64_t k) { return row + k; }
};
template <int Length>
struct FloatRows<Length, true> {
  using X = const float*;
  static constexpr bool kPrepares = true, kSideBySide = true;
  static constexpr uint64_t kPiece = Length, kPieceBytes = Length * sizeof(float) + 64;  // an odd number of lines
  static constexpr uint64_t row_bytes(uint64_t k) { return (k + kPiece - 1) / kPiece * kPieceBytes; }
  static void prepare(const float* x, uint64_t k, uint64_t, uint64_t, uint8_t* to) {
    __builtin_memcpy(to, x, (k < kPiece ? k : kPiece) * sizeof(float));
  }
  static K_FN X part(const uint8_t* row, uint64_t) { return reinterpret_cast<X>(row); }
};

template <class Format>
inline constexpr int kFloatLength = kLanes == 16 && Format::kPlain ? 512 : 256;

/// A way of mat_mat.h, for every format.
template <class Format>
struct FloatPanel : FloatRows<kFloatLength<Format>, (FloatTile::kTileRows > 8)> {
  static constexpr Precision kAccuracy = Precision::Full;
  static constexpr int kVectors = FloatTile::kVectors, kColumns = FloatTile::kColumns;
  static constexpr int kTileRows = FloatTile::kTileRows;
  static constexpr int kLeastRows = 4;  // below it another way is faster
  static constexpr int kLength = kFloatLength<Format>, kBlockColumns = kLanes == 16 ? 256 : 128;
  static constexpr bool kMultiplyAsks = true;  // for what is `ahead`
  static constexpr std::size_t kBytes = kLength * sizeof(FloatTile::Weights);

  using typename FloatRows<kLength, (FloatTile::kTileRows > 8)>::X;

  static void decode(const uint8_t* __restrict rows, uint64_t row_stride, int length, uint8_t* __restrict panel, int v,
                     const Ahead& ahead) {
    const auto* const from = blocks_of<Format>(rows);
    auto* const to = reinterpret_cast<FloatTile::Weights*>(panel);
    if constexpr (Format::kPlain) {
      Ahead::Steps asking = ahead.in((length + kOfLine - 1) / kOfLine);
      int i = 0;
      for (; i + kOfLine <= length; i += kOfLine) {
        asking.next();
        decode_line(reinterpret_cast<const uint8_t*>(from + i), opaque(row_stride), to + i, v);  // as in byte_panel.h
      }
      if (i < length) decode_last(from + i, row_stride, length - i, to + i, v);
    } else {
      const int blocks = length / Format::kValues;
      Ahead::Steps asking = ahead.in(blocks);
      for (int b = 0; b < blocks; ++b) {
        asking.next();
        decode_block(from[b], row_stride, to + b * Format::kValues, v);
      }
    }
  }

  static void multiply(int m, const uint8_t* panel, int length, const X* x, Vec (*y)[kVectors], const Ahead& ahead) {
    FloatTile::multiply(m, reinterpret_cast<const FloatTile::Weights*>(panel), length, x, y, ahead);
  }

 private:
  static K_FN void decode_block(const typename Format::Block& block, uint64_t stride, FloatTile::Weights* to, int v) {
    const ColumnFactors<Format> factors(block, stride);
    for (int run = 0; run < Format::kValues / 16; ++run) {
      const int group = run / (Format::kGroup / 16);
      const Words codes = Format::codes(ColumnReader{stride}, block, run);
      MLXN_UNROLL
      for (int i = 0; i < 16; ++i) {
        const UIntVec code = codes.word[i / 4] >> (8 * (i % 4)) & 255u;
        Vec value = to_float(reinterpret_cast<IntVec>(code));
        if constexpr (Format::kBias != 0) value -= float(Format::kBias);
        value *= factors.scale[group];
        if constexpr (Format::kHasOffset) value += factors.offset[group];
        to[16 * run + i].value[v] = value;
      }
    }
  }

  using Block = typename Format::Block;
  static constexpr int kOfLine = 64 / sizeof(Block);

  /// A line of each row.
  static K_FN void decode_line(const uint8_t* from, uint64_t stride, FloatTile::Weights* to, int v) {
    constexpr int kOfWord = sizeof(float) / sizeof(Block);
    MLXN_UNROLL
    for (int first = 0; first < 16; first += kLanes) {
      UIntVec words[kLanes];
      load_square(from + first * sizeof(float), stride, words);
      MLXN_UNROLL
      for (int j = 0; j < kLanes; ++j) {
        auto* const values = to + (first + j) * kOfWord;
        if constexpr (kOfWord == 1) {
          values[0].value[v] = Format::value(reinterpret_cast<Vec>(words[j]));
        } else {
          values[0].value[v] = Format::value(HalfLanes{words[j] & 0xffffu});
          values[1].value[v] = Format::value(HalfLanes{words[j] >> 16});
        }
      }
    }
  }

  static void decode_last(const Block* from, uint64_t stride, int length, FloatTile::Weights* to, int v) {
    for (int i = 0; i < length; ++i)
      for (int lane = 0; lane < kLanes; ++lane) {
        Block value;
        __builtin_memcpy(&value, reinterpret_cast<const uint8_t*>(from + i) + lane * stride, sizeof value);
        reinterpret_cast<float*>(&to[i].value[v])[lane] = Format::value(value);
      }
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
