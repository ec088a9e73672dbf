// What the kernels of attention share: what a query sees, rows of the cache, the softmax.
//
// All query rows of one KV head, (token, head of the group), form a matrix: row r is head r % group of token r / group.
// The softmax is made online over blocks of kKeys keys that start at multiples of kKeys positions, so that a row's
// sums do not depend on the rows beside it: what it does not see has weight 0.
#pragma once

#include "args/attention.h"
#include "cpu/generic/math.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kKeys = 64;
static_assert(kKeys % kLanes == 0);
inline constexpr float kInfinity = __builtin_inff();
/// Below every score: what is not seen scores -infinity, and the difference is -infinity too.
inline constexpr float kLowest = -__FLT_MAX__;

K_FN Vec load_cached(const float* p, int n) { return load_n(p, n); }
K_FN Vec load_cached(const uint16_t* p, int n) { return n == kLanes ? load_half(p) : load_half_part(p, n); }

/// Of sums of values times 0: whether all of the values are finite.
K_FN bool is_zero(Vec sums) {
  bool zero = true;
  for (int lane = 0; lane < kLanes; ++lane) zero &= sums[lane] == 0;
  return zero;
}

K_FN uint64_t group_of(const AttentionArgs& a) { return a.n_heads / a.n_kv_heads; }
K_FN uint64_t rows_of(const AttentionArgs& a) { return a.n_tokens * group_of(a); }
/// Where row `row` of a KV head begins in query and output.
K_FN uint64_t place_of(const AttentionArgs& a, uint64_t kv_head, uint64_t row) {
  const uint64_t group = group_of(a);
  return (row / group * a.n_heads + kv_head * group + row % group) * a.head_dim;
}

/// Positions that a query at `position` sees.
inline Range visible(const AttentionArgs& a, uint64_t position) {
  const uint64_t last = a.positions[a.n_tokens - 1], end = (a.causal && position < last ? position : last) + 1;
  uint64_t begin = last >= a.kv_capacity ? last - a.kv_capacity + 1 : 0;
  if (a.sliding_window && position >= a.sliding_window && position - a.sliding_window + 1 > begin)
    begin = position - a.sliding_window + 1;
  return {begin < end ? begin : end, end};
}
inline Range visible_to_row(const AttentionArgs& a, uint64_t row) { return visible(a, a.positions[row / group_of(a)]); }
/// The smallest range with both in it.
inline Range hull(Range a, Range b) {
  if (a.begin == a.end) return b;
  if (b.begin == b.end) return a;
  return {a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

/// {0, 0} where they share nothing.
inline Range both(Range a, Range b) {
  const Range part{a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
  return part.begin < part.end ? part : Range{0, 0};
}

/// The part of `range` in [first, first + kKeys), from first on.
inline Range within(Range range, uint64_t first) {
  const Range part = both(range, {first, first + kKeys});
  return part.end ? Range{part.begin - first, part.end - first} : part;
}

/// Rows of a KV head's cache for a block of positions from `first` on. Rows of `keys` alone are looked at: beyond them
/// the nearest one stands in.
template <class T>
struct CacheRows {
  const T* head;
  uint64_t dim, capacity, slot;  ///< slot of position first + keys.begin
  Range keys;

  CacheRows(const AttentionArgs& a, const uint8_t* cache, uint64_t kv_head, uint64_t first, Range visible_keys)
      : head(reinterpret_cast<const T*>(cache) + kv_head * a.kv_capacity * a.head_dim),
        dim(a.head_dim),
        capacity(a.kv_capacity),
        slot((first + visible_keys.begin) % a.kv_capacity),
        keys(visible_keys) {}

  K_FN const T* operator[](uint64_t i) const {
    i = i < keys.begin ? keys.begin : i >= keys.end ? keys.end - 1 : i;
    const uint64_t at = slot + (i - keys.begin);
    return head + (at < capacity ? at : at - capacity) * dim;
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
