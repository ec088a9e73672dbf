// Which codes of a weight row lie in which lanes for dot_words.h, and their factors.
//
//   kBlocks, kSpans, kVectors   blocks of a step, spans of a step, vectors of codes of a span
//   kWhole                      only whole steps can be read; else a span is a block
//   value_of(span, v, lane)     the first of four values of the step whose codes lie in a lane of a vector
//   codes(blocks, span, v)      them; where kInPlace, 2^shift_of(span, v, lane) times as large
//   Factors(blocks, count)      of the groups of a step of which `count` blocks are there: scale(span) has those of the
//                               span's lanes, offsets(i) those of groups i * kLanes and on in their order, or of the
//                               lanes where groups are fewer
//
// With 16 lanes each has its group in all vectors of a span. With 8 (kFolds), groups have two lanes, four groups the
// first half of the vectors and four others the second; the sums of the two halves are folded into one lane a group.
#pragma once

#include <type_traits>
#include <utility>

#include "cpu/generic/dequantize.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr bool kFolds = kLanes < 16;
/// Which lane and half of the vectors, 0 or 1, are folded into a lane.
struct Unfolded {
  int lane, half;
};
constexpr Unfolded unfolded(int lane) {
  if (!kFolds) return {lane, 0};
  return {lane / 4 * 4 + lane % 2 * 2, lane % 4 / 2};
}

/// Reads the same place of the blocks of a half: some words of a run, as many as a block has lanes, or the next.
struct StrideReader {
  static constexpr int kWords = 2;
  uint64_t stride;  // bytes from a block to the next
  int half, part;

  K_FN UIntVec load(const uint8_t* run) const { return load_runs(run, stride, half, part); }
#if MLXN_SPREADS_BITS
  K_FN SpreadBits bits16(const uint16_t* p) const {
    return load_bits_of_runs(reinterpret_cast<const uint8_t*>(p), stride, part);
  }
  K_FN SpreadBits spread(SpreadBits bits) const { return bits; }
#else
  /// Four bits for each lane.
  K_FN UIntVec bits16(const uint16_t* p) const {
    UIntVec first;
    for (int lane = 0; lane < kLanes; ++lane) first[lane] = 4 * (part * kWords + lane % kWords);
    return (load_halfwords_of_runs(reinterpret_cast<const uint8_t*>(p), stride, half) >> first) & 15u;
  }
  K_FN UIntVec spread(UIntVec nibbles) const { return (nibbles * 0x00204081u) & 0x01010101u; }
#endif
  template <class Table>
  K_FN UIntVec lookup(const Table& table, UIntVec indices) const {
    return lookup_runs(table, indices);
  }
};
/// Reads the factors of all blocks.
struct ScaleReader {
  uint64_t stride;

  K_FN Vec half(const uint16_t* p) const { return load_halfs_of_blocks(reinterpret_cast<const uint8_t*>(p), stride); }
};

/// Formats whose blocks are one group: a vector has the same two words of eight blocks or, with 8 lanes, of four.
template <class Format>
struct LanesOfBlocks {
  using Block = typename Format::Block;
  static_assert(Format::kGroup == Format::kValues);
  static constexpr int kWords = StrideReader::kWords, kParts = 4 / kWords;
  static constexpr int kBlocks = 8, kSpans = 1, kOfHalf = Format::kValues / 4 / kWords;
  static constexpr int kVectors = kFolds ? 2 * kOfHalf : kOfHalf;
  static constexpr bool kWhole = true, kInPlace = false;
  static int shift_of(int, int, int) { return 0; }

  static constexpr int value_of(int, int v, int lane) {
    return run_of_lane(lane, v / kOfHalf) * Format::kValues + 4 * (kWords * (v % kOfHalf) + lane % kWords);
  }
  static K_FN UIntVec codes(const Block* blocks, int, int v) {
    const int i = v % kOfHalf;
    return Format::codes(StrideReader{sizeof(Block), v / kOfHalf, i % kParts}, *blocks, i / kParts);
  }
  struct Factors {
    Vec scales, rest;
    K_FN Factors(const Block* blocks, int) : scales(Format::scale(ScaleReader{sizeof(Block)}, *blocks)) {
      if constexpr (Format::kHasOffset) rest = Format::offset(ScaleReader{sizeof(Block)}, *blocks);
    }
    K_FN Vec scale(int) const { return scales; }
    K_FN Vec offsets(int) const { return rest; }
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
struct MaskedWords {
  UIntVec words, mask;
  UIntVec by;

  K_FN UIntVec in_place() const { return words & mask << by; }
  K_FN UIntVec shifted() const { return (words >> by) & mask; }
};
/// Shifted back to the left.
struct PlacedWords {
  MaskedWords of;
  int left;

  K_FN UIntVec words() const {
    bool same = true;
    for (int lane = 0; lane < kLanes; ++lane) same = same && of.by[lane] == of.by[0];
#if MLXN_ROTATES
    // What is masked lies within the word, however far it goes to the left.
    if (!same) return rotated_left(of.words, uint32_t(left) - of.by) & of.mask << left;
#else
    if (!same) return of.shifted() << left;
#endif
    const int right = int(of.by[0]) - left;
    return (right < 0 ? of.words << -right : of.words >> right) & of.mask << left;
  }
};
K_FN PlacedWords operator<<(const MaskedWords& words, int left) { return {words, left}; }
K_FN UIntVec operator|(const MaskedWords& a, const PlacedWords& b) {
#if MLXN_TESTS_BYTES
  if (b.of.mask[0] == 0x01010101u) return add_bits_where(b.of.words, b.of.by, b.of.mask << b.left, a.shifted());
#endif
  return a.shifted() | b.words();
}
struct ShiftedWords {
  UIntVec words;
  OfLanes by;

  friend K_FN MaskedWords operator&(const ShiftedWords& a, uint32_t mask) {
    return {a.words, mask + UIntVec{}, reinterpret_cast<UIntVec>(a.by.of)};
  }
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

  K_FN UIntVec load(PlacesOfLanes p) const { return pick_words(p.base, p.offset / 4 + word); }
  template <class Table>
  K_FN UIntVec lookup(const Table& table, const MaskedWords& indices) const {
    return lookup_runs(table, indices.shifted());
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

/// Formats whose blocks have 8 or 16 groups: a vector has a word or two of each group, or two of each of four.
template <class Format>
struct LanesOfGroups {
  using Block = typename Format::Block;
  static constexpr int kGroups = Format::kValues / Format::kGroup;
  static constexpr int kWords = kFolds ? 2 : kLanes / kGroups;  // of a group in a vector
  static constexpr int kBlocks = kFolds ? 1 : 4, kSpans = kFolds ? kGroups / 8 : kBlocks;
  static constexpr int kOfHalf = Format::kGroup / 4 / kWords, kVectors = kFolds ? 2 * kOfHalf : kOfHalf;
  static constexpr bool kWhole = kFolds;
  static constexpr bool kShares = requires { Format::kPairs; };  // bytes have values of two groups, not of one's runs

  /// Four groups of a half are such that few instructions bring their words together: each two lanes begin in another
  /// quarter of what is loaded, and the halves have the same bytes in another shift, or the next where groups share
  /// none.
  static constexpr int group_of(int span, int half, int lane) {
    if (!kFolds) return lane / kWords;
    const int second = lane / 2 % 2, upper = lane / 4;
    if (kGroups == 16) return 8 * second + 4 * half + 2 * span + upper;
    return kShares ? 4 * second + 2 * upper + half : 4 * half + 2 * second + upper;
  }
  static constexpr int word_of(int v, int lane) { return kWords * (v % kOfHalf) + lane % kWords; }  // in its group
  static constexpr int value_in_block(int span, int v, int lane) {
    return group_of(span, v / kOfHalf, lane) * Format::kGroup + 4 * word_of(v, lane);
  }
  static constexpr int value_of(int span, int v, int lane) {
    return (kFolds ? 0 : span * Format::kValues) + value_in_block(span, v, lane);
  }
  static K_FN auto read(const Block& block, int span, int v) {
    OfLanes run;
    LaneWordReader reader;
    for (int lane = 0; lane < kLanes; ++lane) {
      run.of[lane] = value_in_block(span, v, lane) / 16;
      reader.word[lane] = word_of(v, lane) % 4;
    }
    return Format::codes(reader, block, run);
  }
#if MLXN_WIDE_DOT
  static constexpr bool kInPlace = !std::is_same_v<decltype(read(std::declval<Block>(), 0, 0)), UIntVec>;
#else
  static constexpr bool kInPlace = false;  // products with large codes do not fit
#endif
  static K_FN UIntVec codes(const Block* blocks, int span, int v) {
    const auto read_words = read(blocks[kFolds ? 0 : span], span, v);
    if constexpr (kInPlace)
      return read_words.in_place();
    else if constexpr (std::is_same_v<decltype(read_words), const UIntVec>)
      return read_words;
    else
      return read_words.shifted();
  }
  /// The bits by which codes stay shifted to the left.
  static int shift_of(int span, int v, int lane) {
    if constexpr (kInPlace) {
      const Block zeros = {};
      return int(read(zeros, span, v).by[lane]);
    }
    return 0;
  }

  struct Factors {
    static constexpr int kTables = kBlocks * kGroups / kLanes;
    /// Scales of a span are made when it is there, in registers.
    static constexpr bool kOfSpan = !kFolds && kGroups == 16 && !Format::kHasOffset;
    const Block* first;
    Vec scales[kOfSpan ? 1 : kTables], rest[Format::kHasOffset ? kTables : 1];

    K_FN Factors(const Block* blocks, int count) : first(blocks) {
      if constexpr (kOfSpan) {
      } else if constexpr (kGroups == 16) {
        MLXN_UNROLL
        for (int b = 0; b < kBlocks; ++b) {
          const auto bytes = small_factors<Format>(BlockReader{}, blocks[b < count ? b : count - 1]);
          set_scales(bytes, scales + kRunParts * b);
          if constexpr (Format::kHasOffset) {
            const Run offsets =
                to_signed_run(Codes{bytes.offsets[0], bytes.offsets[1], bytes.offsets[2], bytes.offsets[3]});
            MLXN_UNROLL
            for (int i = 0; i < kRunParts; ++i) rest[kRunParts * b + i] = offsets.part[i] * bytes.offset_unit;
          }
        }
      } else if constexpr (kFolds) {
        const Affines<Format> affines(*blocks);
        scales[0] = load(affines.scale);
        if constexpr (Format::kHasOffset) rest[0] = load(affines.offset);
      } else {
        const auto bytes = small_factors<Format>(FourBlocksReader{sizeof(Block), count}, *blocks);
        set(scales, bytes.scales, bytes.scale_unit);
        if constexpr (Format::kHasOffset) set(rest, bytes.offsets, bytes.offset_unit);
      }
    }
    K_FN Vec scale(int span) const {
      if constexpr (kOfSpan) {
        Vec of_span[kRunParts];
        set_scales(small_factors<Format>(BlockReader{}, first[span]), of_span);
        return of_span[0];
      }
      if constexpr (kGroups == 16) return scales[span];
      IntVec index;
      for (int lane = 0; lane < kLanes; ++lane)
        index[lane] = (kFolds ? group_of_folded(0, lane) : span * kGroups + lane / kWords) % kLanes;
      return pick(scales[span * kGroups / kLanes], index);
    }
    K_FN Vec offsets(int i) const { return rest[i]; }

   private:
    /// Of 16 groups.
    template <class Bytes>
    static K_FN void set_scales(const Bytes& bytes, Vec* to) {
      const Codes all{bytes.scales[0], bytes.scales[1], bytes.scales[2], bytes.scales[3]};
      const Run run = to_signed_run(kFolds ? in_order(all) : all);
      MLXN_UNROLL
      for (int i = 0; i < kRunParts; ++i) to[i] = run.part[i] * bytes.scale_unit;
    }
    static constexpr int group_of_folded(int span, int lane) {
      return group_of(span, unfolded(lane).half, unfolded(lane).lane);
    }
    /// 16 bytes of groups in the order of folded lanes.
    static K_FN Codes in_order(Codes bytes) {
      Bytes16 order;
      MLXN_UNROLL
      for (int i = 0; i < 16; ++i) order[i] = uint8_t(group_of_folded(i / kLanes, i % kLanes));
      return shuffle_bytes(reinterpret_cast<Bytes16>(bytes), reinterpret_cast<Codes>(order));
    }
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

template <class Format, bool Groups = HasSmallFactors<Format>>
struct LanesOf {
  using Type = LanesOfBlocks<Format>;
};
template <class Format>
struct LanesOf<Format, true> {
  using Type = LanesOfGroups<Format>;
};

}  // namespace mlx_native::cpu::MLXN_ISA
