// How lanes share the decode of a block: loads as wide as the format's alignment allows, neighbours at neighbouring
// bytes.
#pragma once

#include "formats/format.h"

namespace mlx_native::gpu {

/// A T at an address that is aligned for it. Every pointer of a GPU kernel is: the emulator's sanitizer checks it.
template <class T>
K_FN T load_as(const K_GLOBAL uint8_t* p) {
  return *reinterpret_cast<const K_GLOBAL T*>(p);
}

/// N words of four codes each, with the operators that formats use.
template <int N>
struct alignas(4 * N) Words {
  uint32_t word[N];
};

#define K_WORDS_OPERATOR(op)                                \
  template <int N>                                          \
  K_FN Words<N> operator op(Words<N> a, Words<N> b) {       \
    K_UNROLL                                                \
    for (int i = 0; i < N; ++i) a.word[i] op## = b.word[i]; \
    return a;                                               \
  }                                                         \
  template <int N>                                          \
  K_FN Words<N> operator op(Words<N> a, uint32_t b) {       \
    K_UNROLL                                                \
    for (int i = 0; i < N; ++i) a.word[i] op## = b;         \
    return a;                                               \
  }
K_WORDS_OPERATOR(&)
K_WORDS_OPERATOR(|)
K_WORDS_OPERATOR(^)
#undef K_WORDS_OPERATOR

template <int N>
K_FN Words<N> operator<<(Words<N> a, int bits) {
  K_UNROLL
  for (int i = 0; i < N; ++i) a.word[i] <<= bits;
  return a;
}
template <int N>
K_FN Words<N> operator>>(Words<N> a, int bits) {
  K_UNROLL
  for (int i = 0; i < N; ++i) a.word[i] >>= bits;
  return a;
}

/// A format's reader that makes words `index` to `index + N - 1` of a run. Align: what a run's address is a multiple
/// of.
template <int N, int Align>
struct LaneReader {
  int index;

  K_FN Words<N> load(const K_GLOBAL uint8_t* run) const {
    const K_GLOBAL uint8_t* const p = run + 4 * index;
    if constexpr (Align % (4 * N) == 0) {
      return load_as<Words<N>>(p);
    } else {
      Words<N> words;
      K_UNROLL
      for (int i = 0; i < N; ++i) {
        if constexpr (Align % 4 == 0)
          words.word[i] = load_as<uint32_t>(p + 4 * i);
        else if constexpr (Align % 2 == 0)
          words.word[i] = load_as<uint16_t>(p + 4 * i) | uint32_t(load_as<uint16_t>(p + 4 * i + 2)) << 16;
        else
          words.word[i] = load_word<1>(p + 4 * i);
      }
      return words;
    }
  }
  K_FN uint32_t bits16(const K_GLOBAL uint16_t* p) const { return *p; }
  K_FN Words<N> spread(uint32_t bits16) const {
    Words<N> words;
    K_UNROLL
    for (int i = 0; i < N; ++i) words.word[i] = WordReader<1>{index + i}.spread(bits16);
    return words;
  }
  template <class Table>
  K_FN Words<N> lookup(const Table& table, Words<N> w) const {
    K_UNROLL
    for (int i = 0; i < N; ++i) w.word[i] = WordReader<1>{index + i}.lookup(table, w.word[i]);
    return w;
  }
};

/// Which codes of a block a lane decodes: `kRuns` runs, of each `kWords` words from word(part) on. `kParts` lanes share
/// a block.
template <class Format>
struct Deal {
  K_STATIC int kBlockRuns = Format::kValues / 16;
  // Aligned blocks: whole runs, two of them by one 16-byte load (low and high nibbles). Others: one word of each run,
  // so that neighbouring lanes read neighbouring words.
  K_STATIC bool kWide = Format::kAlign % 16 == 0;
  K_STATIC int kWords = kWide ? 4 : 1;
  K_STATIC int kMostRuns = kWide ? 2 : 4;
  K_STATIC int kRuns = kBlockRuns < kMostRuns ? kBlockRuns : kMostRuns;
  // Blocks of 256 values keep values 32 apart in one byte, so the runs of a lane are every other one.
  K_STATIC int kStep = kBlockRuns % (2 * kRuns) == 0 ? 2 : 1;
  K_STATIC int kParts = kBlockRuns / kRuns * (4 / kWords);

  using Reader = LaneReader<kWords, Format::kAlign>;

  static K_FN int word(int part) { return part * kWords % 4; }
  static K_FN int run(int part, int i) {
    const int slice = part * kWords / 4;
    return slice / kStep * (kStep * kRuns) + slice % kStep + kStep * i;
  }
};

/// 2^23 + code `i` (0..3) of a word, in one byte permutation instead of a conversion. Subtract 2^23 + bias.
K_FN float code_above_2_23(uint32_t word, int i) { return bits_to_float(0x4b000000u | (word >> (8 * i) & 255u)); }
template <class Format>
K_FN float unbias(float code_above_2_23) {
  return code_above_2_23 - float(8388608 + Format::kBias);
}

struct alignas(16) Four {
  float v[4];
};

/// Values 4 * word to 4 * word + 3 of a block, exactly as the format's contract says.
template <class Format>
K_FN Four decode_word(const K_GLOBAL typename Format::Block& block, int word) {
  const int run = word / 4;
  const Affine affine = Format::affine(block, 16 * run / Format::kGroup);
  const uint32_t codes = Format::codes(LaneReader<1, Format::kAlign>{word % 4}, block, run).word[0];
  Four values;
  K_UNROLL
  for (int i = 0; i < 4; ++i) {
    values.v[i] = affine.scale * float(code_of(codes, i) - Format::kBias);
    if constexpr (Format::kHasOffset) values.v[i] = values.v[i] + affine.offset;
  }
  return values;
}

}  // namespace mlx_native::gpu
