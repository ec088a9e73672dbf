// Blocks of any format in shared memory, as the products of few rows read them: words of codes, and factors.
#pragma once

#include "cuda/vec/instructions.cuh"
#include "formats/list.h"

namespace mlx_native::cuda {

__device__ __forceinline__ std::uint32_t load4(const std::uint8_t* p) {
  return *reinterpret_cast<const std::uint32_t*>(p);
}

/// Rows g and g + 8 of a unit in shared memory.
struct Rows {
  const std::uint8_t* at[2];
};

template <class Format>
__device__ __forceinline__ const typename Format::Block& block_of(const std::uint8_t* row, int i) {
  return reinterpret_cast<const typename Format::Block*>(row)[i];
}

/// A word of a run, as codes() takes it apart: (word >> shift) & mask. What it is made of stays known, for lookup().
struct RunWord {
  std::uint32_t word, mask = ~0u;
  int shift = 0;

  __device__ __forceinline__ operator std::uint32_t() const { return word >> shift & mask; }
  __device__ __forceinline__ RunWord operator>>(int by) const { return {word, mask >> by, shift + by}; }
  __device__ __forceinline__ RunWord operator&(std::uint32_t bits) const { return {word, mask & bits, shift}; }
};

/// A WordReader (formats/format.h) of a unit. kAligned: it lies at a multiple of 16.
template <int kAlign, bool kAligned>
struct UnitReader : WordReader<kAlign> {
  const std::uint8_t* unit;

  __device__ __forceinline__ RunWord load(const std::uint8_t* run) const {
    if constexpr (kAligned) {
      const std::uint8_t* const p = run + 4 * this->index;
      if ((run - unit) % 4 == 0) return {load4(p)};
      return {__funnelshift_r(load4(p - 2), load4(p + 2), 16)};
    }
    return {WordReader<kAlign>::load(run)};
  }
  /// Top bits are turned twice, for who turns them again.
  template <class Table>
  __device__ __forceinline__ std::uint32_t lookup(const Table& table, const RunWord& nibbles) const {
    return look_up<0x80>(table, nibbles.word, nibbles.shift != 0) ^ 0x80808080u;
  }
};

/// Bytes of a row of a unit, which is 256 values.
template <class Format>
constexpr int kUnitRowBytes = 256 / Format::kValues* int(sizeof(typename Format::Block));

/// Word t of run `run` of row r.
template <class Format>
__device__ __forceinline__ std::uint32_t unit_codes(const Rows& rows, int r, int t, int run) {
  return Format::codes(UnitReader<Format::kAlign, kUnitRowBytes<Format> % 16 == 0>{{t}, rows.at[r]},
                       block_of<Format>(rows.at[r], 16 * run / Format::kValues), run % (Format::kValues / 16));
}

template <class Format>
concept HasGroupBytes = requires(const typename Format::Block& b) {
  Format::group_bytes(ScalarReader<Format::kAlign>{}, b);
};
/// A block is a unit, whose groups have small integers as factors.
template <class Format>
concept HasSmallFactors = HasGroupBytes<Format> || requires(const typename Format::Block& b) {
  Format::block_factors(ScalarReader<Format::kAlign>{}, b);
};

/// Those of a row: a GroupBytes.
template <HasSmallFactors Format>
__device__ __forceinline__ auto small_factors(const std::uint8_t* row) {
  const auto& block = block_of<Format>(row, 0);
  if constexpr (HasGroupBytes<Format>)
    return Format::group_bytes(ScalarReader<Format::kAlign>{}, block);
  else
    return Format::block_factors(ScalarReader<Format::kAlign>{}, block);
}

/// Groups of 16 whose scales become part of the codes.
template <class Format>
concept Folds = HasSmallFactors<Format> && Format::kGroup == 16 && requires {
  Format::kFolds;
};

/// What a byte of folded_codes() has more than the product.
template <Folds Format>
constexpr int kFoldedBias = Format::kBias == 0 ? 0 : 127;
/// Word t of run `run` of row r: codes less their bias times scale. No byte borrows from the next.
template <Folds Format>
__device__ __forceinline__ std::uint32_t folded_codes(const Rows& rows, const GroupBytes<16>& factors, int r, int t,
                                                      int run) {
  const std::uint32_t word = unit_codes<Format>(rows, r, t, run);
  const auto scale = std::uint32_t(signed_byte(factors.scales[run / 4], run % 4));
  constexpr std::uint32_t kEach = 0x01010101u;
  if constexpr (Format::kBias == 0) return word * scale;
  return word * scale + multiply_add(scale, 0u - Format::kBias * kEach, kFoldedBias<Format> * kEach);
}

/// Offsets of rows g and g + 8 as halfs, for multiply_tile: a[0] and a[1] of groups 2 t and 2 t + 1; a[2] and a[3] of
/// 16 groups those eight groups on, of eight the same again. Small integers are 2^-24 times as large.
template <HasSmallFactors Format>
__device__ __forceinline__ void offset_halfs(const GroupBytes<256 / Format::kGroup>& row0,
                                             const GroupBytes<256 / Format::kGroup>& row1, int t,
                                             std::uint32_t (&a)[4]) {
  constexpr int kNext = Format::kGroup == 16 ? 2 : 0;
  const std::uint32_t pick = (t & 1) ? 0x4342u : 0x4140u;  // bytes 2 t and 2 t + 1 of two words
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    a[2 * i] = __byte_perm(t < 2 ? row0.offsets[kNext * i] : row0.offsets[kNext * i + 1], 0, pick);
    a[2 * i + 1] = __byte_perm(t < 2 ? row1.offsets[kNext * i] : row1.offsets[kNext * i + 1], 0, pick);
  }
}
/// Of blocks of one group.
template <class Format>
__device__ __forceinline__ void offset_halfs(const Rows& rows, int t, std::uint32_t (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    a[i] = block_of<Format>(rows.at[i % 2], 2 * t).m | std::uint32_t(block_of<Format>(rows.at[i % 2], 2 * t + 1).m)
                                                           << 16;
}

}  // namespace mlx_native::cuda
