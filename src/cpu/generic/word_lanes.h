// Which codes of a weight row lie in which lanes for dot_words.h, and their factors.
//
//   kBlocks, kSpans, kVectors   blocks of a step, spans of a step, vectors of codes of a span
//   kWhole                      only whole steps can be read; else a span is a block
//   value_of(span, v, lane)     the first of four values of the step whose codes lie in a lane of a vector
//   codes(blocks, span, v)      them; where kInPlace, those of a lane 2^shift_of(lane) times as large
//   Factors(blocks, count)      of the groups of a step of which `count` blocks are there: scale(span) has those of the
//                               span's lanes, offsets(i) those of groups i * kLanes and on in their order
#pragma once

#include <type_traits>
#include <utility>

#include "cpu/generic/dequantize.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Reads the same place of kLanes / 4 blocks, each in four lanes.
struct StrideReader {
  uint64_t stride;  // bytes from a block to the next

  K_FN UIntVec load(const uint8_t* run) const { return load_runs(run, stride); }
  K_FN UIntVec bits16(const uint16_t* p) const {
    uint32_t bits[kLanes / 4];
    for (int i = 0; i < kLanes / 4; ++i) {
      uint16_t of_block;
      __builtin_memcpy(&of_block, reinterpret_cast<const uint8_t*>(p) + i * stride, sizeof of_block);
      bits[i] = of_block;
    }
    UIntVec v;
    for (int i = 0; i < kLanes; ++i) v[i] = bits[i / 4] >> (4 * (i % 4)) & 15u;
    return v;
  }
  K_FN UIntVec spread(UIntVec nibbles) const { return (nibbles * 0x00204081u) & 0x01010101u; }
  template <class Table>
  K_FN UIntVec lookup(const Table& table, UIntVec indices) const {
    return lookup_runs(table, indices);
  }
  K_FN Vec half(const uint16_t* p) const { return load_halfs_of_runs(reinterpret_cast<const uint8_t*>(p), stride); }
};

/// Formats whose blocks are one group: a vector is the same run of kLanes / 4 blocks.
template <class Format>
struct LanesOfBlocks {
  using Block = typename Format::Block;
  static_assert(Format::kGroup == Format::kValues && !Format::kHasOffset);
  static constexpr int kBlocks = kLanes / 4, kSpans = 1, kVectors = Format::kValues / 16;
  static constexpr bool kWhole = true, kInPlace = false;
  static int shift_of(int) { return 0; }

  static constexpr int value_of(int, int v, int lane) { return lane / 4 * Format::kValues + 16 * v + lane % 4 * 4; }
  static K_FN UIntVec codes(const Block* blocks, int, int v) {
    return Format::codes(StrideReader{sizeof(Block)}, *blocks, v);
  }
  struct Factors {
    Vec of_blocks;
    K_FN Factors(const Block* blocks, int) : of_blocks(Format::scale(StrideReader{sizeof(Block)}, *blocks)) {}
    K_FN Vec scale(int) const { return of_blocks; }
  };
};

/// A number, or a place in a block, of each lane. They are known where this is compiled.
struct OfLanes {
  IntVec of;

#define MLXN_OF_LANES_OPERATOR(op) \
  friend K_FN OfLanes operator op(OfLanes a, int b) { return {a.of op b}; }
  MLXN_OF_LANES_OPERATOR(*)
  MLXN_OF_LANES_OPERATOR(/)
  MLXN_OF_LANES_OPERATOR(%)
  MLXN_OF_LANES_OPERATOR(&)
#undef MLXN_OF_LANES_OPERATOR
  friend K_FN OfLanes operator*(int a, OfLanes b) { return {a * b.of}; }
  friend K_FN OfLanes operator+(OfLanes a, OfLanes b) { return {a.of + b.of}; }
};
/// Words to be shifted right, each lane by its own number of bits, and then masked. Where nothing is put beside them
/// they may as well stay in place: 2^by times as large.
struct ShiftedWords {
  UIntVec words;
  OfLanes by;

  struct Masked {
    UIntVec words, mask;
    OfLanes by;
    K_FN UIntVec in_place() const { return words & mask << reinterpret_cast<UIntVec>(by.of); }
    K_FN UIntVec shifted() const { return (words >> reinterpret_cast<UIntVec>(by.of)) & mask; }
    friend K_FN UIntVec operator<<(const Masked& a, int bits) { return a.shifted() << bits; }
    friend K_FN UIntVec operator|(const Masked& a, UIntVec b) { return a.shifted() | b; }
  };
  friend K_FN Masked operator&(const ShiftedWords& a, uint32_t mask) { return {a.words, mask + UIntVec{}, a.by}; }
};
K_FN ShiftedWords operator>>(UIntVec words, OfLanes by) { return {words, by}; }
struct PlacesOfLanes {
  const uint8_t* base;
  IntVec offset;
};
K_FN PlacesOfLanes operator+(const uint8_t* p, OfLanes i) { return {p, i.of}; }
K_FN PlacesOfLanes operator+(PlacesOfLanes p, OfLanes i) { return {p.base, p.offset + i.of}; }

/// Reads a word of a run in each lane.
struct LaneWordReader {
  IntVec word;

  K_FN UIntVec load(PlacesOfLanes p) const {
    const IntVec at = p.offset / 4 + word;
    bool same_twos = true;
    int most = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      same_twos = same_twos && at[lane] == at[lane % 2];
      most = at[lane] > most ? at[lane] : most;
    }
    if (same_twos) return splat_two_words(p.base + 4 * at[0]);
    return most < kLanes ? pick_words(p.base, at) : pick_words_of_two(p.base, at);
  }
};

/// Reads factors of one block: a word is an integer, a half a vector of it.
struct BlockReader {
  struct Words {
    Codes word;
  };
  K_FN Words words(const uint8_t* p) const { return {CodeReader{}.load(p)}; }
  K_FN Vec half(const uint16_t* p) const { return splat_half(*p); }
};

/// Reads factors of four blocks, one in each lane; the last of `count` blocks stands for those that are missing.
struct FourBlocksReader {
  uint64_t stride;
  int count;

  struct Words {
    Codes word[4];
  };
  K_FN Words words(const uint8_t* p) const {
    const auto at = [&](int i) {
      return reinterpret_cast<Quad>(CodeReader{}.load(p + (i < count ? i : count - 1) * stride));
    };
    const Transposed t = transposed(at(0), at(1), at(2), at(3));
    return {{reinterpret_cast<Codes>(t.row[0]), reinterpret_cast<Codes>(t.row[1]), reinterpret_cast<Codes>(t.row[2]),
             reinterpret_cast<Codes>(t.row[3])}};
  }
  K_FN Quad half(Codes words) const { return half_quad(words); }
};

/// Formats whose blocks have 8 or 16 groups: a vector has a word or two of each group.
template <class Format>
struct LanesOfGroups {
  using Block = typename Format::Block;
  static constexpr int kGroups = Format::kValues / Format::kGroup, kWords = kLanes / kGroups;  // of a group in a vector
  static constexpr int kBlocks = 4, kSpans = kBlocks, kVectors = Format::kValues / (4 * kLanes);
  static constexpr bool kWhole = false;

  static constexpr int word_of(int v, int lane) { return kWords * v + lane % kWords; }  // in its group
  static constexpr int value_of(int span, int v, int lane) {
    return span * Format::kValues + lane / kWords * Format::kGroup + 4 * word_of(v, lane);
  }
  static K_FN auto read(const Block& block, int v) {
    OfLanes run;
    LaneWordReader reader;
    for (int lane = 0; lane < kLanes; ++lane) {
      run.of[lane] = value_of(0, v, lane) / 16;
      reader.word[lane] = word_of(v, lane) % 4;
    }
    return Format::codes(reader, block, run);
  }
  static constexpr bool kInPlace = !std::is_same_v<decltype(read(std::declval<Block>(), 0)), UIntVec>;
  static K_FN UIntVec codes(const Block* blocks, int span, int v) {
    if constexpr (kInPlace)
      return read(blocks[span], v).in_place();
    else
      return read(blocks[span], v);
  }
  /// The bits by which codes stay shifted to the left.
  static int shift_of(int lane) {
    if constexpr (kInPlace) {
      const Block zeros = {};
      return read(zeros, 0).by.of[lane];
    }
    return 0;
  }

  struct Factors {
    static constexpr int kTables = kBlocks * kGroups / kLanes;
    Vec scales[kTables], rest[kTables];

    K_FN Factors(const Block* blocks, int count) {
      if constexpr (kGroups == 8) {
        const auto bytes = Format::group_bytes(FourBlocksReader{sizeof(Block), count}, *blocks);
        set(scales, bytes.scales, bytes.scale_unit);
        if constexpr (Format::kHasOffset) set(rest, bytes.offsets, bytes.offset_unit);
      } else {
        MLXN_UNROLL
        for (int b = 0; b < kBlocks; ++b) {
          const auto bytes = Format::group_bytes(BlockReader{}, blocks[b < count ? b : count - 1]);
          const Run run = to_signed_run(Codes{bytes.scales[0], bytes.scales[1], bytes.scales[2], bytes.scales[3]});
          scales[b] = run.part[0] * bytes.scale_unit;
        }
      }
    }
    K_FN Vec scale(int span) const {
      if constexpr (kWords == 1) return scales[span];
      IntVec index;
      for (int lane = 0; lane < kLanes; ++lane) index[lane] = (span * kGroups + lane / kWords) % kLanes;
      return pick(scales[span * kGroups / kLanes], index);
    }
    K_FN Vec offsets(int i) const { return rest[i]; }

   private:
    /// Of eight groups a block: the first four and the last four, of each block in a lane.
    static K_FN void set(Vec (&to)[kTables], const Codes (&bytes)[2], Quad units) {
      const Codes blocks[2] = {__builtin_shufflevector(bytes[0], bytes[1], 0, 4, 1, 5),
                               __builtin_shufflevector(bytes[0], bytes[1], 2, 6, 3, 7)};
      MLXN_UNROLL
      for (int t = 0; t < kTables; ++t) {
        const Run run = to_signed_run(blocks[t / kRunParts]);
        IntVec block;
        for (int lane = 0; lane < kLanes; ++lane) block[lane] = (t * kLanes + lane) / 8;
        to[t] = run.part[t % kRunParts] * pick(units, block);
      }
    }
  };
};

template <class Format, bool Groups = HasGroupBytes<Format>>
struct LanesOf {
  using Type = LanesOfBlocks<Format>;
};
template <class Format>
struct LanesOf<Format, true> {
  using Type = LanesOfGroups<Format>;
};

}  // namespace mlx_native::cpu::MLXN_ISA
