// What a weight format is to everything above it: a struct with the layout of a block and one decode.
//
// A block format stores `kValues` values of a row in one `Block`. Each run of 16 consecutive values has 16 unsigned
// 8-bit codes; each group of `kGroup` (16 or 32) consecutive values shares a scale and an offset:
//
//   value = scale * float(code - kBias) + offset          in f32, in this order, without the sum where !kHasOffset
//
//   struct Q4_K {
//     K_STATIC bool kPlain = false;
//     K_STATIC bool kHasOffset;                     // false: offset is 0 everywhere
//     K_STATIC int kBits, kValues, kGroup, kBias;   // codes are below 2^kBits
//     K_STATIC int kAlign;   // alignment of a block in bytes that holds wherever a tensor's start is 16-aligned
//     struct Block;          // its comment is the spec; sizeof(Block) is ggml's
//     template <class R> static auto codes(R r, const K_GLOBAL Block& b, int run);   // 0 <= run < kValues / 16
//     static Affine affine(const K_GLOBAL Block& b, int group);                      // 0 <= group < kValues / kGroup
//   };
//
// A plain format (F32, F16, BF16) has kPlain = true, kValues = 1, kAlign, a Block that is one number, and value(b),
// where b is a Block, or as many of them as a SIMD type holds.
//
// Codes. codes() is written once, over a reader R that decides how many codes are made at a time: a WordReader makes
// the four of one 32-bit word, a SIMD reader all 16. Four codes lie in a word, lowest byte first. Readers offer
//   r.load(p)          the reader's bytes of the 16 at p
//   r.bits16(p)        the 16 bits at p
//   r.spread(bits)     byte i = bit i of what bits16() gave
//   r.lookup(t, w)     byte i = t[byte i of w], t a table of 16 bytes
// and words offer & | ^ with a uint32_t or a word, << and >> by an int, each on 32-bit lanes.
//
// Factors. A format may offer more than one affine() at a time, over a reader (a ScalarReader, or one of many rows)
// with
//   r.words(p)   .word[4] of the 16 bytes at p
//   r.half(w)    the f16 in the low half of a word
//   r.half(p)    the f16 at p
// Where a block is one group, its scale, and its offset if it has one:
//     template <class R> static auto scale(R r, const K_GLOBAL Block& b);
//     template <class R> static auto offset(R r, const K_GLOBAL Block& b);
// Where a block has 8 or 16 groups whose factors are small integers times a common unit, all of them, as GroupBytes;
// by the second name where only products of few rows gain by it, which decode a row at a time:
//     template <class R> static auto group_bytes(R r, const K_GLOBAL Block& b);
//     template <class R> static auto block_factors(R r, const K_GLOBAL Block& b);
// The codes() of such a format takes a run of any type with + - * / % & and, of words, >>: a reader may read another
// run in each lane. Such a reader may load up to 128 bytes from the member of the block that is read on, where those
// are the block's.
//
// What kernels may make use of, each absent where it does not hold:
//     K_STATIC bool kPairs = true;        // codes(r, b, 2 i) of a reader of 32 bytes makes the codes of runs 2 i and
//                                         // 2 i + 1, which lie side by side; run is of any type, as above
//     K_STATIC bool kFolds = true;        // (code - kBias) * scale, of integers as in GroupBytes, is in [-127, 128]
//     K_STATIC bool kAlternates = true;   // of four runs the first and the third, and the second and the fourth, have
//                                         // bits in the same bytes: who decodes all four takes them in that order
#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// Parameters of a group: value = scale * float(code - kBias) + offset.
struct Affine {
  float scale, offset;
};

/// The factors of all groups: affine(b, g) = {scale_unit * float(scale g), offset_unit * float(offset g)}, bit for bit.
/// The integers are signed bytes, four in a word, the lowest byte first.
template <int Groups, class Word = uint32_t, class Float = float>
struct GroupBytes {
  Float scale_unit, offset_unit;
  Word scales[Groups / 4], offsets[Groups / 4];
};

/// Reads factors of one block. Align: what the block's address is a multiple of.
template <int Align>
struct ScalarReader {
  K_FN FourWords words(const K_GLOBAL uint8_t* p) const { return load_four_words<Align>(p); }
  K_FN float half(uint32_t word) const { return half_to_float(uint16_t(word)); }
  K_FN float half(const K_GLOBAL uint16_t* p) const { return half_to_float(*p); }
};

/// Reads word `index` (0..3) of a run: codes 4 * index to 4 * index + 3. Align: what the address of a run is a multiple
/// of.
template <int Align>
struct WordReader {
  int index;

  K_FN uint32_t load(const K_GLOBAL uint8_t* run) const { return load_word<Align>(run + 4 * index); }
  K_FN uint32_t bits16(const K_GLOBAL uint16_t* p) const { return *p; }
  K_FN uint32_t spread(uint32_t bits16) const {
    // The factor puts bit i of a nibble at bit 8 i; the other products fall between.
    return ((bits16 >> (4 * index) & 15u) * 0x00204081u) & 0x01010101u;
  }
  template <class Table>
  K_FN uint32_t lookup(const Table& table, uint32_t word) const {
    return uint32_t(uint8_t(table[word & 15])) | uint32_t(uint8_t(table[word >> 8 & 15])) << 8 |
           uint32_t(uint8_t(table[word >> 16 & 15])) << 16 | uint32_t(uint8_t(table[word >> 24 & 15])) << 24;
  }
};

/// Code `i` (0..3) of a word.
K_FN int code_of(uint32_t word, int i) { return int(word >> (8 * i) & 255u); }

}  // namespace mlx_native
