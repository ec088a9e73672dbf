#include "cpu/generic/word_tile.h"

#include "cpu/generic/rounding.h"

#if MLXN_HAS_WORDS

namespace mlx_native::cpu::MLXN_ISA {

namespace {

K_FN UIntVec two_words(const int16_t* p) { return load_word<1>(reinterpret_cast<const uint8_t*>(p)) + UIntVec{}; }

#if !MLXN_WIDE_DOT
K_FN void add_products(UIntVec& sum, UIntVec a, UIntVec b) {
  sum += sum_of_products(a, b);
  complete(sum);
}
#endif

template <class Tile, int M>
K_FN void multiply_rows(const typename Tile::Weights* weights, int units, const typename Tile::X* const* rows,
                        Vec (*y)[Tile::kVectors], const Ahead& ahead) {
  constexpr int kVectors = Tile::kVectors, kUnits = Tile::kOuter / Tile::kUnit;
  const typename Tile::X* x[M];
  Vec total[M][kVectors];
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) {
    x[m] = rows[m];
    for (int v = 0; v < kVectors; ++v) y[m][v] = total[m][v] = Vec{};
  }
  Ahead::Steps asking = ahead.in(units);
  for (int u = 0; u < units; ++u) {
    const auto& w = weights[u];
    asking.next();
    UIntVec sum[M][kVectors] = {};
    MLXN_UNROLL
    for (int j = 0; j < Tile::kUnit / 2; ++j) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        const UIntVec two = two_words(x[m][u].q + 2 * j);
        for (int v = 0; v < kVectors; ++v) add_products(sum[m][v], w.values[j][v], two);
      }
    }
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      const auto& of_x = x[m][u];
      for (int v = 0; v < kVectors; ++v) {
        const Vec exact = to_float(reinterpret_cast<IntVec>(sum[m][v]));
        total[m][v] = fma(exact, Tile::kOfUnit ? splat(of_x.scale) : w.scale[v], total[m][v]);
        MLXN_UNROLL
        for (int i = 0; i < Tile::kOffsets; ++i) total[m][v] = fma(w.offset[i][v], splat(of_x.sums[i]), total[m][v]);
      }
    }
    if ((u + 1) % kUnits == 0 || u + 1 == units) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m)
        for (int v = 0; v < kVectors; ++v) {
          y[m][v] = fma(total[m][v], Tile::kOfUnit ? w.scale[v] : splat(x[m][u].scale), y[m][v]);
          total[m][v] = Vec{};
        }
    }
  }
}

template <class Tile, int M>
K_FN void choose(int m, const typename Tile::Weights* weights, int units, const typename Tile::X* const* x,
                 Vec (*y)[Tile::kVectors], const Ahead& ahead) {
  if (m == M) return multiply_rows<Tile, M>(weights, units, x, y, ahead);
  if constexpr (M > 1) choose<Tile, M - 1>(m, weights, units, x, y, ahead);
}

/// Of some values, rounded with the scale that they come with.
template <int Count>
struct Rounded {
  IntVec q[Count / kLanes];

  K_FN Rounded(const float* x, const Rounding& rounding) {
    MLXN_UNROLL
    for (int i = 0; i < Count / kLanes; ++i) q[i] = to_nearest(load(x + i * kLanes) * rounding.inverse);
  }
  K_FN int32_t sum() const {
    IntVec sums = {};
    for (const IntVec& v : q) sums += v;
    return sum_lanes(sums);
  }
  K_FN int32_t magnitudes() const {
    IntVec sums = {};
    for (const IntVec& v : q) sums += v < 0 ? -v : v;
    return sum_lanes(sums);
  }
  K_FN void store(int16_t* to) const {
    MLXN_UNROLL
    for (int i = 0; i < Count / kLanes; ++i) store_words(to + i * kLanes, q[i]);
  }
};

}  // namespace

template <int Unit, bool Offset, bool OfUnit>
void WordTile<Unit, Offset, OfUnit>::prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end,
                                             int32_t largest_weight, X* to) {
  constexpr float kMost = 32767;
  const int32_t most_sum = 0x7fffffff / largest_weight;
  for (uint64_t b = begin; b < end; ++b) {
    const int length = int(k - b * kBlock < kBlock ? k - b * kBlock : kBlock);
    const float* const from = x + b * kBlock;
    const float peak = largest(from, length);
    Rounding rounding(peak, kMost);
    if constexpr (OfUnit) {
      // Values that are all large are rounded to fewer bits, which is still less of them.
      const int32_t sum = Rounded<Unit>(from, rounding).magnitudes();
      if (sum > most_sum) rounding = Rounding(peak, float(int32_t(kMost * float(most_sum - Unit) / float(sum + Unit))));
    }
    for (int i = 0; i < length; i += Unit) {
      X& unit = to[(b * kBlock + i) / Unit];
      unit.scale = rounding.scale;
      if constexpr (Offset) {
        MLXN_UNROLL
        for (int g = 0; g < kOffsets; ++g) {
          const Rounded<32> group(from + i + 32 * g, rounding);
          group.store(unit.q + 32 * g);
          unit.sums[g] = float(group.sum());
        }
      } else {
        Rounded<Unit>(from + i, rounding).store(unit.q);
      }
    }
  }
}

template <int Unit, bool Offset, bool OfUnit>
void WordTile<Unit, Offset, OfUnit>::multiply(int m, const Weights* weights, int units, const X* const* x,
                                              Vec (*y)[kVectors], const Ahead& ahead) {
  return choose<WordTile, kTileRows>(m, weights, units, x, y, ahead);
}

template struct WordTile<32, false, false>;
template struct WordTile<32, false, true>;
template struct WordTile<32, true, false>;
template struct WordTile<64, true, false>;

}  // namespace mlx_native::cpu::MLXN_ISA

#endif
