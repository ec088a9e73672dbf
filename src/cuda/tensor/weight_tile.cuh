// Weights of a tile of k as the tall operand of wgmma.
#pragma once

#include "cuda/tensor/halfs.cuh"

namespace mlx_native::cuda {

/// 16 rows by 64 columns in a warp's registers, a run of 16 columns in four: see mma_m16n8k16. In two parts, or one.
template <bool kParts>
struct Fragments {
  uint32_t high[4][4], low[kParts ? 4 : 1][4];

  /// What the second part of x is multiplied by.
  __device__ __forceinline__ uint32_t (&second(int run))[4] {
    if constexpr (kParts)
      return low[run];
    else
      return high[run];
  }

  /// No access moves across this point.
  __device__ __forceinline__ void hold() {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        asm volatile("" : "+r"(high[i][j])::"memory");
        if constexpr (kParts) asm volatile("" : "+r"(low[i][j])::"memory");
      }
    }
  }
};

/// A run at an even address as memory has it: five words, by how much each is to be shifted, and where codes are then.
/// Bits that a shift brings in come from the word behind; codes() masks them. kKnown: the compiler knows the shift.
template <bool kKnown>
struct ShiftedRun {
  uint32_t word[5], shift;
  int up = 0;

  __device__ __forceinline__ ShiftedRun operator>>(int by) const {
    ShiftedRun r = *this;
    r.up += by;
    return r;
  }
  __device__ __forceinline__ operator Codes<4>() const {
    if (kKnown && shift == 0) return {{word[0], word[1], word[2], word[3]}, ~0u, up};
    Codes<4> r = {{}, ~0u, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) r.word[i] = __funnelshift_r(word[i], word[i + 1], shift + up);
    return r;
  }
  __device__ __forceinline__ Codes<4> operator&(uint32_t o) const { return Codes<4>(*this) & o; }
  __device__ __forceinline__ Codes<4> operator^(uint32_t o) const { return Codes<4>(*this) ^ o; }
};

/// Reads whole runs of a chunk of a row in shared memory.
template <int Align, int kRowAlign>
struct RunReader {
  const uint8_t* row;  // the chunk, at a multiple of kRowAlign

  __device__ __forceinline__ auto load(const uint8_t* run) const {
    if constexpr (Align % 4 == 0) {
      const FourWords w = load_four_words<Align>(run);
      return Codes<4>{{w.word[0], w.word[1], w.word[2], w.word[3]}, ~0u, 0};
    } else {
      static_assert(Align == 2);
      constexpr bool kKnown = kRowAlign % 4 == 0;
      if constexpr (kKnown) {
        const uint32_t odd = uint32_t(run - row) & 2;
        const uint32_t* const words = reinterpret_cast<const uint32_t*>(run - odd);
        // No word is read that has no byte of the run.
        const auto* const last = reinterpret_cast<const uint32_t*>(run + 12 + odd);
        return ShiftedRun<kKnown>{{words[0], words[1], words[2], words[3], *last}, 8 * odd};
      } else {
        // Runs lie at multiples of 4 bytes of a block that is the chunk, and not at its end.
        const uint32_t odd = uint32_t(reinterpret_cast<uintptr_t>(row)) & 2;
        const uint32_t* const words = reinterpret_cast<const uint32_t*>(row - odd + (run - row));
        return ShiftedRun<kKnown>{{words[0], words[1], words[2], words[3], words[4]}, 8 * odd};
      }
    }
  }
  __device__ __forceinline__ uint32_t bits16(const uint16_t* p) const { return *p; }
  __device__ __forceinline__ Codes<4> spread(uint32_t bits) const {
    return {{WordReader<4>{0}.spread(bits), WordReader<4>{1}.spread(bits), WordReader<4>{2}.spread(bits),
             WordReader<4>{3}.spread(bits)},
            ~0u,
            0};
  }
  template <class Table>
  __device__ __forceinline__ Codes<4> lookup(const Table& table, const Codes<4>& nibbles) const {
    Codes<4> r = {{}, ~0u, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) r.word[i] = look_up<0>(table, nibbles.word[i], nibbles.up == 4);
    return r;
  }
};

/// The factors of this lane's 64 values of a chunk of 256, those from 64 t on. begin<kTile>() before its tile.
template <class Format, bool kFull>
struct LaneFactors {
  GroupDecode<Format, kFull> group;

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (16 * kTile % Format::kGroup == 0) {
      const uint32_t value = 64 * t + 16 * kTile;
      const auto& block = reinterpret_cast<const typename Format::Block*>(row)[value / Format::kValues];
      group = GroupDecode<Format, kFull>(Format::affine(block, int(value % Format::kValues / Format::kGroup)));
    }
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(const Codes<1>& codes, uint32_t odd_bytes) const {
    return group.high(codes, odd_bytes);
  }
  template <int kTile>
  __device__ __forceinline__ void split(const Codes<1>& codes, uint32_t, Halfs& high, Halfs& low) const {
    group.template split<true>(codes, high, low);
  }
};

/// Bytes 2 (t % 2) and the next one of a word as halfs: 0x6400 | byte is the half 1024 + byte.
__device__ __forceinline__ uint32_t small_pair(uint32_t word, uint32_t t) {
  const uint32_t biased = __byte_perm(word >> 16 * (t % 2), 0x64646464u, 0x4140);
  return bits_of(__hsub2(pair_of(biased), __float2half2_rn(1024.0f)));
}

/// Of a block with eight groups whose factors are small integers: scales of a lane's two groups, with which codes are
/// multiplied exactly.
template <class Format>
struct TwoScales {
  static_assert(Format::kValues == 256 && Format::kGroup == 32 && Format::kBias == 0 && Format::kBits <= 5);
  /// How far up codes of a tile are multiplied: those of the second group where formats of four bits have them.
  template <int kTile>
  static constexpr int kUp = kTile >= 2 && Format::kBits <= 4 ? 4 : 0;

  static constexpr float kMost = 1000.0f;
  uint32_t scales, bias;  // for halves of products of codes at kUp

  /// `more`: integers of at most kMost that are added to half the products; what they become by rounding.
  __device__ __forceinline__ __half2 set(__half2 scale, __half2 more) {
    const __half2 s = __hmul2(scale, __floats2half2_rn(0.5f, 0.5f / float(1 << kUp<2>)));
    const __half2 b = __hfma2(s, __float2half2_rn(-1024.0f), more);
    scales = bits_of(s), bias = bits_of(b);
    return __hfma2(s, __float2half2_rn(1024.0f), b);
  }
  template <int kTile>
  static __device__ __forceinline__ __half2 of(uint32_t pair) {
    return kTile < 2 ? __low2half2(pair_of(pair)) : __high2half2(pair_of(pair));
  }
  template <int kTile, class Finish>
  __device__ __forceinline__ Halfs products(const Codes<1>& codes, uint32_t odd_bytes, const Finish& finish) const {
    const Codes<1> c = codes.at(kUp<kTile>);
    const auto product = [&](uint32_t biased) {
      return bits_of(finish(__hfma2(pair_of(biased), of<kTile>(scales), of<kTile>(bias))));
    };
    return {{product(even_codes(c)), product(odd_codes(c, odd_bytes))}};
  }
};

/// A value is unit * (code * scale / 2 + more) + rest, where the sum in brackets is exact and `more` nearly the whole
/// offset. So it is rounded once, relative to itself, however its terms cancel.
template <class Format>
requires(Format::kHasOffset&& Format::kPairs) struct LaneFactors<Format, false> {
  TwoScales<Format> two;
  uint32_t rest, unit;  // of this lane's two groups; `unit` twice

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (kTile == 0) {
      const auto bytes =
          Format::group_bytes(ScalarReader<Format::kAlign>{}, *reinterpret_cast<const typename Format::Block*>(row));
      const __half2 scale = pair_of(small_pair(t < 2 ? bytes.scales[0] : bytes.scales[1], t));
      const __half2 offset = pair_of(small_pair(t < 2 ? bytes.offsets[0] : bytes.offsets[1], t));
      const __half2 by = __float2half2_rn(kWeightUnit * bytes.offset_unit);
      const __half2 u = __float2half2_rn(2.0f * kWeightUnit * bytes.scale_unit);
      // kEven leaves even numbers of `more`; beyond kMost no terms cancel.
      constexpr float kEven = 3072.0f, kMost = TwoScales<Format>::kMost, kMostRatio = 60000.0f;
      const float ratio = fminf(fmaxf(__fdividef(bytes.offset_unit, 2.0f * bytes.scale_unit), -kMostRatio), kMostRatio);
      const __half2 sum = __hfma2(offset, __float2half2_rn(ratio), __float2half2_rn(kEven));
      const __half2 whole = __hmin2(__hmax2(sum, __float2half2_rn(kEven - kMost)), __float2half2_rn(kEven + kMost));
      const __half2 more = two.set(scale, __hsub2(whole, __float2half2_rn(kEven)));
      const __half2 high = __hmul2(more, u), low = __hfma2(more, u, __hneg2(high));
      rest = bits_of(__hsub2(__hfma2(offset, by, __hneg2(high)), low));
      unit = bits_of(u);
    }
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(const Codes<1>& codes, uint32_t odd_bytes) const {
    return two.template products<kTile>(codes, odd_bytes, [&](__half2 product) {
      return __hfma2(product, pair_of(unit), two.template of<kTile>(rest));
    });
  }
};

/// The same for `Full`: codes * scale, and the offsets as they are in the block.
template <ExactSpans Format>
struct LaneFactors<Format, true> {
  TwoScales<Format> two;
  uint32_t offsets;
  float unit, offset_unit;  // of the products of codes, and of those of offsets and sums

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (kTile == 0) {
      const auto bytes =
          Format::group_bytes(ScalarReader<Format::kAlign>{}, *reinterpret_cast<const typename Format::Block*>(row));
      two.set(pair_of(small_pair(t < 2 ? bytes.scales[0] : bytes.scales[1], t)), __float2half2_rn(0.0f));
      offsets = small_pair(t < 2 ? bytes.offsets[0] : bytes.offsets[1], t);
      unit = 2.0f * kWeightUnit * bytes.scale_unit;
      offset_unit = kWeightUnit / kSumUnit * bytes.offset_unit;
    }
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(const Codes<1>& codes, uint32_t odd_bytes) const {
    return two.template products<kTile>(codes, odd_bytes, [](__half2 product) { return product; });
  }
};

/// Of a block with 16 groups whose scales are small integers. Codes times scale have up to 13 bits: for Full two parts,
/// which are exact, and `unit` is what products are multiplied by outside the tensor cores.
template <class Format, bool kFull>
struct PairFactors {
  static_assert(Format::kValues == 256 && Format::kGroup == 16);
  uint32_t scales[2];  // of this lane's four groups, times `unit` unless kFull
  float unit;

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (kTile == 0) {
      const auto& block = *reinterpret_cast<const typename Format::Block*>(row);
      const uint32_t biased = load_word<2>(reinterpret_cast<const uint8_t*>(block.scales) + 4 * t) ^ 0x80808080u;
      unit = kWeightUnit * half_to_float(block.d);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const __half2 two =
            __hsub2(pair_of(__byte_perm(biased, 0x64646464u, i ? 0x4342 : 0x4140)), __float2half2_rn(1024.0f + 128.0f));
        scales[i] = bits_of(kFull ? two : __hmul2(two, __float2half2_rn(unit)));
      }
    }
  }
  template <int kTile>
  __device__ __forceinline__ __half2 scale() const {
    const __half2 two = pair_of(scales[kTile / 2]);
    return kTile % 2 ? __high2half2(two) : __low2half2(two);
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(const Codes<1>& codes, uint32_t odd_bytes) const {
    const Halfs exact = exact_halfs<Format>(codes, odd_bytes);
    return {{bits_of(__hmul2(pair_of(exact.pair[0]), scale<kTile>())),
             bits_of(__hmul2(pair_of(exact.pair[1]), scale<kTile>()))}};
  }
  template <int kTile>
  __device__ __forceinline__ void split(const Codes<1>& codes, uint32_t odd_bytes, Halfs& high, Halfs& low) const {
    const Halfs exact = exact_halfs<Format>(codes, odd_bytes);
    const __half2 whole = scale<kTile>(), most = __hmul2(whole, __float2half2_rn(kHighShare));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const __half2 code = pair_of(exact.pair[i]), part = __hmul2(code, most);
      high.pair[i] = bits_of(part);
      low.pair[i] = bits_of(__hfma2(code, whole, __hneg2(part)));
    }
  }
};

template <ExactPairs Format, bool kFull>
struct LaneFactors<Format, kFull> : PairFactors<Format, kFull> {};

/// Of rows g and g + 8 of the warp's 16: a tile's codes as halfs.
template <int kTile, class Format, bool kFull>
__device__ __forceinline__ void decode_runs(const Codes<4> (&row)[2], uint32_t odd_bytes,
                                            const LaneFactors<Format, kFull> (&factors)[2],
                                            Fragments<kSplit<Format, kFull>>& to) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      Halfs h, l;
      if constexpr (kSplit<Format, kFull>)
        factors[r].template split<kTile>(row[r].of(run), odd_bytes, h, l);
      else
        h = factors[r].template high<kTile>(row[r].of(run), odd_bytes);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        to.high[run][2 * i + r] = h.pair[i];
        if constexpr (kSplit<Format, kFull>) to.low[run][2 * i + r] = l.pair[i];
      }
    }
  }
}

/// A lane's codes of a tile, of rows g and g + 8 of the warp's 16: four runs of four columns side by side.
template <class Format, int kRowAlign>
struct TileCodes {
  Codes<4> row[2];

  /// Tile kTile of the chunks that begin at `rows`, multiples of kRowAlign. Tiles are read in their order.
  template <int kTile, bool kFull>
  __device__ __forceinline__ void read(const uint8_t* const (&rows)[2], uint32_t t,
                                       LaneFactors<Format, kFull> (&factors)[2]) {
    const uint32_t value = 64 * t + 16 * kTile;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      factors[r].template begin<kTile>(rows[r], t);
      const auto& block = reinterpret_cast<const typename Format::Block*>(rows[r])[value / Format::kValues];
      row[r] = Format::codes(RunReader<Format::kAlign, kRowAlign>{rows[r]}, block, int(value % Format::kValues / 16));
    }
  }
  template <int kTile, bool kFull>
  __device__ __forceinline__ void decode(const uint8_t* const (&)[2], uint32_t, uint32_t odd_bytes,
                                         const LaneFactors<Format, kFull> (&factors)[2],
                                         Fragments<kSplit<Format, kFull>>& to) const {
    decode_runs<kTile>(row, odd_bytes, factors, to);
  }
};

/// A plain format's factors: none.
template <class Format, bool kFull>
requires(Format::kPlain) struct LaneFactors<Format, kFull> {
};

/// Its numbers are read when they are decoded: word t of each run of the tile.
template <class Format, int kRowAlign>
requires(Format::kPlain) struct TileCodes<Format, kRowAlign> {
  template <int kTile, bool kFull>
  __device__ __forceinline__ void read(const uint8_t* const (&)[2], uint32_t, LaneFactors<Format, kFull> (&)[2]) {}
  template <int kTile, bool kFull>
  __device__ __forceinline__ void decode(const uint8_t* const (&rows)[2], uint32_t t, uint32_t,
                                         const LaneFactors<Format, kFull> (&)[2], Fragments<kFull>& to) const {
#pragma unroll
    for (int run = 0; run < 4; ++run) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const auto* const numbers =
            reinterpret_cast<const typename Format::Block*>(rows[r]) + 64 * kTile + 16 * run + 4 * t;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float a = kWeightUnit * Format::value(numbers[i]), b = kWeightUnit * Format::value(numbers[i + 2]);
          if constexpr (kFull)
            split_pair<true>(a, b, to.high[run][2 * i + r], to.low[run][2 * i + r]);
          else
            to.high[run][2 * i + r] = rounded_pair(a, b);
        }
      }
    }
  }
};

/// A group of 16 rows: two runs of 16 columns in a warp's registers, and the scales of rows g and g + 8.
struct ExactGroup {
  uint32_t run[2][4];
  float scale[2];

  /// No access moves across this point.
  __device__ __forceinline__ void hold() {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(run[0][i]), "+r"(run[1][i])::"memory");
  }
};

/// Reads word `index` of a run in shared memory, whose row is at a multiple of 16.
struct RowWordReader {
  const uint8_t* row;
  uint32_t index;

  __device__ __forceinline__ uint32_t load(const uint8_t* run) const {
    return (run - row) % 4 == 0 ? load_word<4>(run + 4 * index) : load_word<2>(run + 4 * index);
  }
  __device__ __forceinline__ uint32_t bits16(const uint16_t* p) const { return *p; }
  __device__ __forceinline__ uint32_t spread(uint32_t bits) const { return WordReader<4>{int(index)}.spread(bits); }
  template <class Table>
  __device__ __forceinline__ uint32_t lookup(const Table& table, uint32_t codes) const {
    return WordReader<4>{0}.lookup(table, codes);
  }
};

/// Group kIndex of the chunk that begins at rows[0] and rows[1], rows g and g + 8 of the warp. x is packed by spans of
/// 16: word t of each run stands where wgmma wants this lane's columns.
template <class Format, int kIndex>
__device__ __forceinline__ void decode_group(const uint8_t* const (&rows)[2], uint32_t t, uint32_t odd_bytes,
                                             ExactGroup& to) {
  static_assert(Format::kValues == 32);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const auto& block = reinterpret_cast<const typename Format::Block*>(rows[r])[kIndex];
    to.scale[r] = kWeightUnit * Format::affine(block, 0).scale;
#pragma unroll
    for (int run = 0; run < 2; ++run) {
      const Halfs h = exact_halfs<Format>({{Format::codes(RowWordReader{rows[r], t}, block, run)}, ~0u, 0}, odd_bytes);
      to.run[run][r] = h.pair[0];
      to.run[run][2 + r] = h.pair[1];
    }
  }
}

}  // namespace mlx_native::cuda
