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

/// A run's 16 codes, for codes() of a format.
struct RunCodes {
  uint32_t word[4];

#define MLXN_EACH(expression)                                               \
  RunCodes r;                                                               \
  _Pragma("unroll") for (int i = 0; i < 4; ++i) { r.word[i] = expression; } \
  return r
  __device__ __forceinline__ RunCodes operator&(uint32_t o) const { MLXN_EACH(word[i] & o); }
  __device__ __forceinline__ RunCodes operator|(uint32_t o) const { MLXN_EACH(word[i] | o); }
  __device__ __forceinline__ RunCodes operator^(uint32_t o) const { MLXN_EACH(word[i] ^ o); }
  __device__ __forceinline__ RunCodes operator&(const RunCodes& o) const { MLXN_EACH(word[i] & o.word[i]); }
  __device__ __forceinline__ RunCodes operator|(const RunCodes& o) const { MLXN_EACH(word[i] | o.word[i]); }
  __device__ __forceinline__ RunCodes operator^(const RunCodes& o) const { MLXN_EACH(word[i] ^ o.word[i]); }
  __device__ __forceinline__ RunCodes operator<<(int by) const { MLXN_EACH(word[i] << by); }
  __device__ __forceinline__ RunCodes operator>>(int by) const { MLXN_EACH(word[i] >> by); }
#undef MLXN_EACH
};

/// A run at an even address as memory has it: five words, and by how much each is to be shifted. Bits that a shift
/// brings in come from the word behind; codes() masks them.
struct ShiftedRun {
  uint32_t word[5], shift;

  __device__ __forceinline__ ShiftedRun operator>>(int by) const {
    ShiftedRun r = *this;
    r.shift += by;
    return r;
  }
  __device__ __forceinline__ operator RunCodes() const {
    RunCodes r;
#pragma unroll
    for (int i = 0; i < 4; ++i) r.word[i] = __funnelshift_r(word[i], word[i + 1], shift);
    return r;
  }
  __device__ __forceinline__ RunCodes operator&(uint32_t o) const { return RunCodes(*this) & o; }
  __device__ __forceinline__ RunCodes operator^(uint32_t o) const { return RunCodes(*this) ^ o; }
};

/// Reads whole runs of a chunk of a row in shared memory.
template <int Align, int kRowAlign>
struct RunReader {
  const uint8_t* row;  // the chunk, at a multiple of kRowAlign

  __device__ __forceinline__ auto load(const uint8_t* run) const {
    if constexpr (Align % 4 == 0) {
      const FourWords w = load_four_words<Align>(run);
      return RunCodes{{w.word[0], w.word[1], w.word[2], w.word[3]}};
    } else {
      static_assert(Align == 2);
      const uint32_t odd = (kRowAlign % 4 ? uint32_t(reinterpret_cast<uintptr_t>(run)) : uint32_t(run - row)) & 2;
      const uint32_t* const words = reinterpret_cast<const uint32_t*>(run - odd);
      // No word is read that has no byte of the run.
      const auto* const last = reinterpret_cast<const uint32_t*>(run + 12 + odd);
      return ShiftedRun{{words[0], words[1], words[2], words[3], *last}, 8 * odd};
    }
  }
  __device__ __forceinline__ uint32_t bits16(const uint16_t* p) const { return *p; }
  __device__ __forceinline__ RunCodes spread(uint32_t bits) const {
    return {{WordReader<4>{0}.spread(bits), WordReader<4>{1}.spread(bits), WordReader<4>{2}.spread(bits),
             WordReader<4>{3}.spread(bits)}};
  }
  template <class Table>
  __device__ __forceinline__ RunCodes lookup(const Table& table, const RunCodes& codes) const {
    RunCodes r;
#pragma unroll
    for (int i = 0; i < 4; ++i) r.word[i] = WordReader<4>{0}.lookup(table, codes.word[i]);
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
  __device__ __forceinline__ Halfs high(uint32_t codes, uint32_t odd_bytes) const {
    return group.high(codes, odd_bytes);
  }
  template <int kTile>
  __device__ __forceinline__ void split(uint32_t codes, uint32_t, Halfs& high, Halfs& low) const {
    group.template split<true>(codes, high, low);
  }
};

/// Bytes 2 (t % 2) and the next one of a word as halfs: 0x6400 | byte is the half 1024 + byte.
__device__ __forceinline__ uint32_t small_pair(uint32_t word, uint32_t t) {
  const uint32_t biased = __byte_perm(word >> 16 * (t % 2), 0x64646464u, 0x4140);
  return bits_of(__hsub2(pair_of(biased), __float2half2_rn(1024.0f)));
}

/// Of a block with eight groups whose factors are small integers: code * scale is exact in f16, and what is lost of an
/// offset is added at last. So the value is rounded relative to itself, however its terms cancel.
template <class Format>
requires(Format::kHasOffset&& Format::kPairs) struct LaneFactors<Format, false> {
  static_assert(Format::kValues == 256 && Format::kGroup == 32 && Format::kBias == 0 && Format::kBits <= 5);
  // Of this lane's two groups; `unit` twice.
  uint32_t scales, bias, offset_high, offset_low, unit;

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (kTile == 0) {
      const auto bytes =
          Format::group_bytes(ScalarReader<Format::kAlign>{}, *reinterpret_cast<const typename Format::Block*>(row));
      const __half2 scale = pair_of(small_pair(t < 2 ? bytes.scales[0] : bytes.scales[1], t));
      const __half2 offset = pair_of(small_pair(t < 2 ? bytes.offsets[0] : bytes.offsets[1], t));
      const __half2 by = __float2half2_rn(kWeightUnit * bytes.offset_unit), high = __hmul2(offset, by);
      scales = bits_of(scale);
      bias = bits_of(__hmul2(scale, __float2half2_rn(-1024.0f)));
      offset_high = bits_of(high);
      offset_low = bits_of(__hfma2(offset, by, __hneg2(high)));
      unit = bits_of(__float2half2_rn(kWeightUnit * bytes.scale_unit));
    }
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(uint32_t codes, uint32_t odd_bytes) const {
    const auto of = [](uint32_t pair) { return kTile < 2 ? __low2half2(pair_of(pair)) : __high2half2(pair_of(pair)); };
    const auto value = [&](uint32_t biased) {
      const __half2 product = __hfma2(pair_of(biased), of(scales), of(bias));
      return bits_of(__hadd2(__hfma2(product, pair_of(unit), of(offset_high)), of(offset_low)));
    };
    return {{value(even_codes(codes)), value(odd_codes(codes, odd_bytes))}};
  }
};

/// The same for `Full`: codes * scale, and the offsets as they are in the block.
template <ExactSpans Format>
struct LaneFactors<Format, true> {
  uint32_t scales, bias, offsets;
  float unit, offset_unit;  // of the products of codes, and of those of offsets and sums

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (kTile == 0) {
      const auto bytes =
          Format::group_bytes(ScalarReader<Format::kAlign>{}, *reinterpret_cast<const typename Format::Block*>(row));
      scales = small_pair(t < 2 ? bytes.scales[0] : bytes.scales[1], t);
      offsets = small_pair(t < 2 ? bytes.offsets[0] : bytes.offsets[1], t);
      bias = bits_of(__hmul2(pair_of(scales), __float2half2_rn(-1024.0f)));
      unit = kWeightUnit * bytes.scale_unit;
      offset_unit = kWeightUnit / kSumUnit * bytes.offset_unit;
    }
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(uint32_t codes, uint32_t odd_bytes) const {
    const auto of = [](uint32_t pair) { return kTile < 2 ? __low2half2(pair_of(pair)) : __high2half2(pair_of(pair)); };
    return {{bits_of(__hfma2(pair_of(even_codes(codes)), of(scales), of(bias))),
             bits_of(__hfma2(pair_of(odd_codes(codes, odd_bytes)), of(scales), of(bias)))}};
  }
};

/// Of a block with 16 groups whose scales are small integers. Codes times scale have up to 13 bits: for Full two parts,
/// which are exact, and `unit` is what products are multiplied by outside the tensor cores.
template <ExactPairs Format, bool kFull>
struct LaneFactors<Format, kFull> {
  static_assert(Format::kValues == 256 && Format::kGroup == 16);
  uint32_t scales;  // of this lane's four groups: 128 more than each
  float unit;

  template <int kTile>
  __device__ __forceinline__ void begin(const uint8_t* row, uint32_t t) {
    if constexpr (kTile == 0) {
      const auto& block = *reinterpret_cast<const typename Format::Block*>(row);
      scales = load_word<2>(reinterpret_cast<const uint8_t*>(block.scales) + 4 * t) ^ 0x80808080u;
      unit = kWeightUnit * half_to_float(block.d);
    }
  }
  template <int kTile>
  __device__ __forceinline__ __half2 scale() const {
    const uint32_t biased = __byte_perm(scales, 0x64646464u, 0x4040 + 0x101 * kTile);
    return __hsub2(pair_of(biased), __float2half2_rn(1024.0f + 128.0f));
  }
  template <int kTile>
  __device__ __forceinline__ Halfs high(uint32_t codes, uint32_t odd_bytes) const {
    const Halfs exact = exact_halfs<Format>(codes, odd_bytes);
    const __half2 by = __hmul2(scale<kTile>(), __float2half2_rn(unit));
    return {{bits_of(__hmul2(pair_of(exact.pair[0]), by)), bits_of(__hmul2(pair_of(exact.pair[1]), by))}};
  }
  template <int kTile>
  __device__ __forceinline__ void split(uint32_t codes, uint32_t odd_bytes, Halfs& high, Halfs& low) const {
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

/// Makes this lane's part of tile kTile of chunks that begin at `rows` (of rows g and g + 8 of the warp's 16): of the
/// lane's 64 values, the run kTile, whose words are those of the tile's four runs. kRowAlign: of `rows`.
template <class Format, bool kFull, int kRowAlign, int kTile>
__device__ __forceinline__ void decode_tile(const uint8_t* const (&rows)[2], uint32_t t, uint32_t odd_bytes,
                                            LaneFactors<Format, kFull> (&factors)[2],
                                            Fragments<kSplit<Format, kFull>>& to) {
  using Block = typename Format::Block;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    factors[r].template begin<kTile>(rows[r], t);
    const uint32_t value = 64 * t + 16 * kTile;
    const Block& block = reinterpret_cast<const Block*>(rows[r])[value / Format::kValues];
    const RunCodes codes =
        Format::codes(RunReader<Format::kAlign, kRowAlign>{rows[r]}, block, int(value % Format::kValues / 16));
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      Halfs h, l;
      if constexpr (kSplit<Format, kFull>)
        factors[r].template split<kTile>(codes.word[run], odd_bytes, h, l);
      else
        h = factors[r].template high<kTile>(codes.word[run], odd_bytes);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        to.high[run][2 * i + r] = h.pair[i];
        if constexpr (kSplit<Format, kFull>) to.low[run][2 * i + r] = l.pair[i];
      }
    }
  }
}

/// A plain format's factors: none.
template <class Format, bool kFull>
requires(Format::kPlain) struct LaneFactors<Format, kFull> {
};

/// Word t of each run of the tile.
template <class Format, bool kFull, int kRowAlign, int kTile>
requires(Format::kPlain) __device__ __forceinline__
    void decode_tile(const uint8_t* const (&rows)[2], uint32_t t, uint32_t, LaneFactors<Format, kFull> (&)[2],
                     Fragments<kFull>& to) {
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
      const Halfs h = exact_halfs<Format>(Format::codes(RowWordReader{rows[r], t}, block, run), odd_bytes);
      to.run[run][r] = h.pair[0];
      to.run[run][2 + r] = h.pair[1];
    }
  }
}

}  // namespace mlx_native::cuda
