// Activations as the tensor cores read them, and where they and the routing lie in a product's scratch memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "args/matmul.h"

namespace mlx_native::cuda {

/// Rows of f16, each scaled by a power of two that puts its largest value at 2^12 to 2^13: f16's range is then used
/// whatever the range of the row. `Full` adds a second f16: what is lost in the rounding, or, `blended`, the value
/// itself and kBlend times what is lost.
///
/// Values are permuted within each `span` of them, so that what lane 4 g + t of mma and wgmma holds of all the span's
/// runs of 16 columns are consecutive weights, which are decoded together and share factors: four of its columns, 2 t,
/// 2 t + 1, 2 t + 8 and 2 t + 9 of run r, are values 0, 2, 1 and 3 of those from t * span / 4 + 4 r on.
///
/// [k tile of 64][row][64]: a tile's row is 128 bytes, and its eight 16-byte pieces lie at piece ^ (row % 8), as
/// wgmma's 128-byte swizzle wants them. So any rows from a multiple of 8 on are contiguous, ready to be copied to
/// shared memory.
struct PackedX {
  uint8_t *high, *low;  // low: only for Full
  uint8_t* sums;        // see kSumBytes; or null
  float* unit;          // of a row: what its results are multiplied by
  uint32_t rows;        // a multiple of 8
  uint32_t k_tiles;
  uint32_t span;  // 16, or what chunks of weights are decoded by: kSpan
  bool blended;   // see kBlend
};

/// `Full` by two products of f16 instead of three, whatever the weights. A weight w is high, nearly kHighShare of it,
/// and low, the rest or nearly so. Then, but for about 2^-17 of it,
///
///   w x = high f16(x) + low f16(x + kBlend (x - f16(x)))
///
/// since what rounding x takes off high's product is given to low's, where low is a kBlend-th of high. Where no sign
/// changes, what tensor cores cut off is then twice as much: only for sums that are added outside after a while.
inline constexpr float kBlend = 63.0f, kHighShare = 63.0f / 64;

/// x as a product has packed it, for others of the same x.
struct Packing {
  const float* x = nullptr;  // null: there is none
  uint32_t rows = 0, k = 0;
  PackedX packed = {};

  /// Whether the same values would be packed to `to`.
  bool serves(const float* of, uint32_t its_rows, uint32_t its_k, const PackedX& to) const {
    return x && x == of && rows == its_rows && k == its_k && packed.span == to.span && packed.blended == to.blended &&
           !packed.low == !to.low && !packed.sums == !to.sums;
  }
};

/// Rows of x that a product packs itself while it multiplies others: those from `first_row` on.
struct PackedBehind {
  const float* x;
  uint32_t* taken;  // how many rows have been, and then how many are packed; null: there are no such rows
  uint32_t first_row;
};

inline constexpr uint32_t kTileK = 64;
inline constexpr uint32_t kTileRowBytes = 2 * kTileK;
inline constexpr uint32_t kSpan = 256;

/// For formats whose groups of 32 have an offset, sums of x over these groups: [span of 256][row][16], the f16 parts of
/// eight sums (times kSumUnit) and then what these lose. The 16 bytes of either stand at piece ^ (row / 4 % 2), as
/// wgmma's 32-byte swizzle wants them.
inline constexpr uint32_t kSumBytes = 32;
inline constexpr float kSumUnit = 1.0f / 32;
/// Weights are multiplied by this before they become f16, so that small ones do not become subnormal.
inline constexpr float kWeightUnit = 16.0f;

/// Rows of one expert that are multiplied together: `rows` rows of PackedX from `first` on.
struct RoutedTile {
  uint32_t expert, first, rows;
};

/// Slots (token, choice) in the order of their experts. Each expert's rows begin at a multiple of 8.
struct Routing {
  uint32_t* slot_of;  // [rows]
  RoutedTile* tiles;  // those of an expert side by side
  uint32_t* n_tiles;
  uint32_t top_k;
  bool gathered;  // rows of PackedX are tokens, and not those of `slot_of`
};
inline constexpr uint32_t kNoRow = ~0u;

/// `Full` does not need parts of weights where codes are exact halfs whose products only their scales, in f32, turn
/// into results: a group of 32 at a time, or a span of 256 where factors of groups are small integers and what is taken
/// off a group is multiplied by sums of x.
template <class Format>
concept ExactGroups = (!Format::kPlain) && (!Format::kHasOffset) && (Format::kValues == 32);
template <class Format>
concept ExactSpans = (!Format::kPlain) && (Format::kHasOffset) && Format::kPairs && (Format::kBits <= 5);
/// Codes times a small integer scale are the sum of two exact halfs.
template <class Format>
concept ExactPairs = (!Format::kPlain) && (!Format::kHasOffset) && Format::kPairs && (Format::kGroup == 16);

/// Whether weights have two parts.
template <class Format, bool kFull>
inline constexpr bool kSplit = kFull && !ExactGroups<Format> && !ExactSpans<Format>;

/// PackedX::span.
template <class Format, bool kFull>
inline constexpr uint32_t kSpanOfX = Format::kPlain || (kFull && ExactGroups<Format>) ? 16 : kSpan;

/// Hands out consecutive parts of memory, each at a multiple of 1024 bytes. With a null start it measures.
class Carver {
 public:
  explicit Carver(uint8_t* start) : start_(start) {}
  template <class T>
  T* take(std::uint64_t n) {
    T* const p = reinterpret_cast<T*>(start_ + used_);
    used_ += (n * sizeof(T) + 1023) / 1024 * 1024;
    return p;
  }
  std::uint64_t used() const { return used_; }

 private:
  uint8_t* start_;
  std::uint64_t used_ = 0;
};

inline PackedX carve_x(Carver& carver, std::uint64_t rows, std::uint32_t k, bool full, std::uint32_t span = 16,
                       bool sums = false, bool blended = false) {
  PackedX x{};
  x.span = span;
  x.blended = blended;
  x.rows = static_cast<std::uint32_t>((rows + 7) / 8 * 8);
  x.k_tiles = k / kTileK + (k % kTileK != 0);
  const std::uint64_t bytes = std::uint64_t{x.rows} * x.k_tiles * kTileRowBytes;
  x.high = carver.take<uint8_t>(bytes);
  if (full) x.low = carver.take<uint8_t>(bytes);
  if (sums) x.sums = carver.take<uint8_t>(std::uint64_t{x.rows} * (k / kSpan) * kSumBytes);
  x.unit = carver.take<float>(x.rows);
  return x;
}

/// At most this many tiles of `tile_rows` rows.
inline std::uint64_t most_tiles(const MatmulIdArgs& a, std::uint32_t tile_rows) {
  const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k;
  return slots / tile_rows + std::min<std::uint64_t>(a.n_experts, slots);
}
inline std::uint64_t most_rows(const MatmulIdArgs& a) {
  const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k;
  return slots + 7 * std::min<std::uint64_t>(a.n_experts, slots);
}

inline Routing carve_routing(Carver& carver, const MatmulIdArgs& a, std::uint32_t tile_rows) {
  return {carver.take<uint32_t>(most_rows(a) + 8), carver.take<RoutedTile>(most_tiles(a, tile_rows)),
          carver.take<uint32_t>(1), a.top_k, false};
}

}  // namespace mlx_native::cuda
