// Weight rows side by side: a vector holds the same place of kLanes rows, so that a product needs no sum over lanes and
// an element of x is multiplied with kLanes weights at once.
#pragma once

#include "cpu/generic/dequantize.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// The same 16 bytes of kLanes rows: lane i of word j is bytes 4 j to 4 j + 3 of row i.
struct Words {
  UIntVec word[4];

#define MLXN_WORDS_OPERATOR(op, Right, right)                     \
  friend K_FN Words operator op(Words a, Right b) {               \
    for (int j = 0; j < 4; ++j) a.word[j] = a.word[j] op b right; \
    return a;                                                     \
  }
  MLXN_WORDS_OPERATOR(&, uint32_t, )
  MLXN_WORDS_OPERATOR(|, uint32_t, )
  MLXN_WORDS_OPERATOR(^, uint32_t, )
  MLXN_WORDS_OPERATOR(<<, int, )
  MLXN_WORDS_OPERATOR(>>, int, )
  MLXN_WORDS_OPERATOR(&, const Words&, .word[j])
  MLXN_WORDS_OPERATOR(|, const Words&, .word[j])
  MLXN_WORDS_OPERATOR(^, const Words&, .word[j])
#undef MLXN_WORDS_OPERATOR
};

/// Makes the codes of a run for kLanes rows (formats/format.h); what it is given is a place in the first row.
struct ColumnReader {
  uint64_t stride;  // bytes from a row to the next

  K_FN Words load(const uint8_t* run) const {
    Words w;
    load_columns(run, stride, w.word);
    return w;
  }
  K_FN Words words(const uint8_t* p) const { return load(p); }
  K_FN Vec half(UIntVec word) const { return half_lanes(word & 0xffffu); }
  K_FN Vec half(const uint16_t* p) const { return half_lanes(bits16(p)); }
  K_FN UIntVec bits16(const uint16_t* p) const { return load_halfword_columns(p, stride); }
  K_FN Words spread(UIntVec bits16) const {
    Words w;
    for (int j = 0; j < 4; ++j) w.word[j] = ((bits16 >> (4 * j) & 15u) * 0x00204081u) & 0x01010101u;
    return w;
  }
  template <class Table>
  K_FN Words lookup(const Table& table, Words indices) const {
    for (UIntVec& word : indices.word) word = lookup_runs(table, word);
    return indices;
  }
};

/// Byte i of each lane.
K_FN IntVec signed_byte(UIntVec word, int i) { return reinterpret_cast<IntVec>(word << (24 - 8 * i)) >> 24; }

/// Whether what has one float scale is integers of 16 bits (word_tile.h, amx_tile.h): a group of 32 codes less their
/// bias, or a block of 256 codes times the scales of their groups.
template <class Format>
constexpr bool kHasIntegerUnits = HasGroupBytes<Format>
                                      ? Format::kValues == 256 && (Format::kGroup == 32 || !Format::kHasOffset)
                                      : Format::kGroup == 32;

/// 16-bit integers, two in each lane.
using Halves = uint16_t __attribute__((vector_size(sizeof(UIntVec))));
K_FN UIntVec in_both_halves(IntVec v) { return reinterpret_cast<UIntVec>((v & 0xffff) | v << 16); }

/// Scales and offsets of the groups of a block, each of kLanes rows.
template <class Format>
struct ColumnFactors {
  static constexpr int kGroups = Format::kValues / Format::kGroup;
  Vec scale[kGroups], offset[Format::kHasOffset ? kGroups : 1];

  K_FN ColumnFactors(const typename Format::Block& block, uint64_t stride) {
    const ColumnReader reader{stride};
    if constexpr (requires { Format::scale(reader, block); }) {
      scale[0] = Format::scale(reader, block);
      if constexpr (Format::kHasOffset) offset[0] = Format::offset(reader, block);
    } else if constexpr (HasSmallFactors<Format>) {
      const auto bytes = small_factors<Format>(reader, block);
      MLXN_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        scale[g] = to_float(signed_byte(bytes.scales[g / 4], g % 4)) * bytes.scale_unit;
        if constexpr (Format::kHasOffset)
          offset[g] = to_float(signed_byte(bytes.offsets[g / 4], g % 4)) * bytes.offset_unit;
      }
    } else {
      for (int lane = 0; lane < kLanes; ++lane) {
        const Affines<Format> affines(
            *reinterpret_cast<const typename Format::Block*>(reinterpret_cast<const uint8_t*>(&block) + lane * stride));
        for (int g = 0; g < kGroups; ++g) {
          scale[g][lane] = affines.scale[g];
          if constexpr (Format::kHasOffset) offset[g][lane] = affines.offset[g];
        }
      }
    }
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
