// A small SIMD vocabulary. Each ISA's header gives the types and what only its instructions can say; the rest is
// written here once. A file that includes this is compiled once per ISA with MLXN_ISA set to the ISA's name, which is
// also the namespace of everything that depends on it: no symbol of one ISA can stand in for another's.
//
//   Vec, IntVec, UIntVec   kLanes floats, 32-bit integers: native vectors, so that + - * / < & | << work on them
//   Oct, Quad     8 and 4 floats on every ISA
//   Codes         16 unsigned bytes, four 32-bit lanes: what a format's codes() makes of a run
//   Run           the same as numbers, in order
//
// An ISA may define MLXN_FACTORS_HEADER, a header that decodes factors of blocks, MLXN_BYTES_HEADER, one that
// multiplies bytes for dot_bytes.h, and MLXN_STREAMS, the weight rows that dot_words.h reads at once.
#pragma once

#include <type_traits>
#include <utility>

#include "core/dialect.h"
#include "cpu/simd/unroll.h"

#include MLXN_ISA_HEADER  // cpu/simd/ISA.h

#ifndef MLXN_STREAMS
#define MLXN_STREAMS 1
#endif

namespace mlx_native::cpu::MLXN_ISA {

using WideVec = uint64_t __attribute__((vector_size(8 * kLanes)));

/// A number or a place of which the compiler knows nothing, so that what is made of it cannot move out of a loop.
template <class T>
K_FN T opaque(T value) {
  asm volatile("" : "+r"(value));
  return value;
}

K_FN Vec splat(float value) { return value - Vec{}; }
K_FN IntVec splat_int(int32_t value) { return value - IntVec{}; }
K_FN Vec bits_as_float(IntVec bits) { return reinterpret_cast<Vec>(bits); }
K_FN IntVec float_as_bits(Vec value) { return reinterpret_cast<IntVec>(value); }
K_FN IntVec to_int(Vec value) { return __builtin_convertvector(value, IntVec); }
K_FN Vec to_float(IntVec value) { return __builtin_convertvector(value, Vec); }

K_FN Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
K_FN IntVec load_int(const int32_t* p) {
  IntVec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
K_FN void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }

#if !MLXN_HAS_SQUARES
/// Lane i of out[j]: word j at p + i * stride.
K_FN void load_square(const uint8_t* p, uint64_t stride, UIntVec (&out)[kLanes]) {
  MLXN_UNROLL
  for (int first = 0; first < kLanes; first += 4) {
    UIntVec words[4];
    load_columns(p + 4 * first, stride, words);
    for (int j = 0; j < 4; ++j) out[first + j] = words[j];
  }
}
#endif

/// The first `n` < kLanes numbers, zeros behind them.
K_FN Vec load_part(const float* p, int n) {
  float lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
/// The first `n` < kLanes numbers, `rest` behind them.
K_FN Vec load_part_or(const float* p, int n, float rest) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : rest;
  return load(lanes);
}
K_FN void store_part(float* p, Vec v, int n) {
  float lanes[kLanes];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
K_FN Vec load_half_part(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load_half(lanes);
}
K_FN void store_half_part(uint16_t* p, Vec v, int n) {
  uint16_t lanes[kLanes];
  store_half(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

/// Lane by lane, the second where the comparison fails: a NaN in `a` gives `b`.
K_FN Vec max(Vec a, Vec b) { return a > b ? a : b; }
K_FN Vec min(Vec a, Vec b) { return a < b ? a : b; }
K_FN Vec abs(Vec a) { return bits_as_float(float_as_bits(a) & 0x7fffffff); }

inline constexpr int kRunParts = 16 / kLanes;

/// Byte i becomes table[byte i], of any number of runs; the table has 16 bytes.
template <class Table, class Runs>
K_FN Runs lookup_runs(const Table& table, Runs indices) {
  Bytes16 bytes;
  __builtin_memcpy(&bytes, &table[0], sizeof bytes);
#if MLXN_SHUFFLES_VECTORS
  if constexpr (std::is_same_v<Runs, UIntVec>) return shuffle_bytes(bytes, indices);
#endif
  Codes runs[sizeof(Runs) / sizeof(Codes)];
  __builtin_memcpy(runs, &indices, sizeof runs);
  for (Codes& run : runs) run = shuffle_bytes(bytes, run);
  __builtin_memcpy(&indices, runs, sizeof runs);
  return indices;
}

/// Makes 16 codes at a time: a reader as formats/format.h describes it.
struct CodeReader {
  K_FN Codes load(const uint8_t* run) const {
    Codes v;
    __builtin_memcpy(&v, run, sizeof v);
    return v;
  }
  K_FN uint32_t bits16(const uint16_t* p) const { return *p; }
  K_FN Codes spread(uint32_t bits16) const {
    constexpr Codes kByteOfBit{0, 0, 0x01010101u, 0x01010101u};
    constexpr Codes kBit{0x08040201u, 0x80402010u, 0x08040201u, 0x80402010u};
    const Codes bytes = shuffle_bytes(reinterpret_cast<Bytes16>(Codes{bits16}), kByteOfBit) & kBit;
    return reinterpret_cast<Codes>(reinterpret_cast<Bytes16>(bytes) != 0) & 0x01010101u;
  }
  template <class Table>
  K_FN Codes lookup(const Table& table, Codes indices) const {
    return lookup_runs(table, indices);
  }
};

/// kLanes 16-bit floats in memory. The conversions have the names by which formats call the scalar ones.
struct Halfwords {
  const uint16_t* at;
};
K_FN Vec half_to_float(Halfwords words) { return load_half(words.at); }
K_FN Vec bfloat_to_float(Halfwords words) { return load_bfloat(words.at); }
/// The same in the low halves of kLanes words.
struct HalfLanes {
  UIntVec bits;
};
K_FN Vec half_to_float(HalfLanes lanes) { return half_lanes(lanes.bits); }
K_FN Vec bfloat_to_float(HalfLanes lanes) { return reinterpret_cast<Vec>(lanes.bits << 16); }

/// kLanes values of a plain format.
template <class Format>
K_FN Vec load_plain(const typename Format::Block* p) {
  if constexpr (sizeof(*p) == 2)
    return Format::value(Halfwords{p});
  else
    return Format::value(load(p));
}

#if !MLXN_HAS_HALFWORD_COLUMNS
/// Lane i: the halfword at p + i * stride bytes.
K_FN UIntVec load_halfword_columns(const uint16_t* p, uint64_t stride) {
  alignas(sizeof(UIntVec)) uint32_t lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    uint16_t bits;
    __builtin_memcpy(&bits, reinterpret_cast<const uint8_t*>(p) + i * stride, sizeof bits);
    lanes[i] = bits;
  }
  UIntVec v;
  __builtin_memcpy(&v, lanes, sizeof v);
  return v;
}
#endif

K_FN Quad load_quad(const float* p) {
  Quad v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
K_FN void store_quad(float* p, Quad v) { __builtin_memcpy(p, &v, sizeof v); }

struct Transposed {
  Quad row[4];
};
K_FN Transposed transposed(Quad a, Quad b, Quad c, Quad d) {
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return {{__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5), __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
           __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
           __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)}};
}

K_FN Oct load_oct(const float* p) {
  Oct v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
K_FN Oct splat_oct(float value) { return value - Oct{}; }
K_FN void store_oct(float* p, Oct v) { __builtin_memcpy(p, &v, sizeof v); }

/// The sum of all lanes: halves are added until four lanes are left, then (0 + 1) + (2 + 3).
K_FN float sum(Vec v) {
  const Quad q = fold(v);
  return (q[0] + q[1]) + (q[2] + q[3]);
}
struct Pairs {
  Vec first, second;
};
using Lanes = std::make_integer_sequence<int, kLanes>;
/// Lane i of the result: lane i ^ Step.
template <int Step, class V, int... I>
K_FN V swapped(V v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I ^ Step)...);
}
/// Lanes of a, then of b, in pieces of `Piece` lanes: the first of each two pieces, or the second. Four lanes and less
/// stay within their four, as instructions do: there, two of a and two of b.
template <int Piece>
constexpr int first_of_two(int lane) {
  constexpr int kSpan = Piece < 4 ? 4 : kLanes;  // within which a fills the lower half
  const int span = lane / kSpan * kSpan, at = lane % kSpan, in_b = at >= kSpan / 2, half = at % (kSpan / 2);
  return in_b * kLanes + span + half / Piece * 2 * Piece + half % Piece;
}
/// Each two neighbouring pieces of lanes, added.
template <int Piece, int... I>
K_FN Vec add_neighbours(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, first_of_two<Piece>(I)...) +
         __builtin_shufflevector(a, b, (first_of_two<Piece>(I) + Piece)...);
}
/// Lane i: the sum of all lanes of v[i]: pairs, then fours, then fours of fours.
K_FN Vec sum_each(const Vec (&v)[kLanes]) {
  Vec part[kLanes / 2];
  MLXN_UNROLL
  for (int i = 0; i < kLanes / 2; ++i) part[i] = add_neighbours<1>(v[2 * i], v[2 * i + 1], Lanes{});
  MLXN_UNROLL
  for (int i = 0; i < kLanes / 4; ++i) part[i] = add_neighbours<1>(part[2 * i], part[2 * i + 1], Lanes{});
  if constexpr (kLanes > 8) {
    MLXN_UNROLL
    for (int i = 0; i < kLanes / 8; ++i) part[i] = add_neighbours<4>(part[2 * i], part[2 * i + 1], Lanes{});
  }
  if constexpr (kLanes > 4) part[0] = add_neighbours<4>(part[0], part[1], Lanes{});
  return part[0];
}
/// The even and the odd lanes of a, then b; and back.
template <int... I>
K_FN Pairs split_pairs(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return {__builtin_shufflevector(a, b, (2 * I)...), __builtin_shufflevector(a, b, (2 * I + 1)...)};
}
template <int... I>
K_FN Pairs join_pairs(Vec even, Vec odd, std::integer_sequence<int, I...>) {
  return {__builtin_shufflevector(even, odd, (I / 2 + I % 2 * kLanes)...),
          __builtin_shufflevector(even, odd, ((I + kLanes) / 2 + I % 2 * kLanes)...)};
}
/// The largest of each N neighbouring lanes, in all of them.
template <int N>
K_FN Vec max_of_neighbours(Vec v) {
  if constexpr (N > 1) v = max(v, swapped<1>(v, Lanes{}));
  if constexpr (N > 2) v = max(v, swapped<2>(v, Lanes{}));
  if constexpr (N > 4) v = max(v, swapped<4>(v, Lanes{}));
  if constexpr (N > 8) v = max(v, swapped<8>(v, Lanes{}));
  return v;
}
K_FN float sum_oct(Oct v) {
  const Quad q = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  return (q[0] + q[1]) + (q[2] + q[3]);
}
K_FN float max_lane(Vec v) { return max_of_neighbours<kLanes>(v)[0]; }
/// `add`, which may be done in any order, over all lanes.
template <int Step = kLanes / 2, class Add>
K_FN int32_t over_lanes(IntVec v, const Add& add) {
  v = add(v, swapped<Step>(v, Lanes{}));
  if constexpr (Step > 1) return over_lanes<Step / 2>(v, add);
  return v[0];
}
K_FN int32_t max_lane(IntVec v) {
  return over_lanes(v, [](IntVec a, IntVec b) { return a > b ? a : b; });
}
/// The largest magnitude of `n` values, n a multiple of kLanes; infinite and NaN ones are above all.
K_FN float largest(const float* x, int n) {
  IntVec most = {};
  for (int i = 0; i < n; i += kLanes) {
    const IntVec size = float_as_bits(load(x + i)) & 0x7fffffff;
    most = size > most ? size : most;
  }
  return bits_to_float(uint32_t(max_lane(most)));
}
/// Modulo 2^32.
K_FN int32_t sum_lanes(IntVec v) {
  return over_lanes(v, [](IntVec a, IntVec b) {
    return reinterpret_cast<IntVec>(reinterpret_cast<UIntVec>(a) + reinterpret_cast<UIntVec>(b));
  });
}

}  // namespace mlx_native::cpu::MLXN_ISA
