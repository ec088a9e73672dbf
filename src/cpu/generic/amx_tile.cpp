#include "cpu/generic/amx_tile.h"

#include <type_traits>

#include "cpu/generic/rounding.h"

#if MLXN_HAS_TILES

namespace mlx_native::cpu::MLXN_ISA {

namespace {

constexpr int kRows = 16;  // of a tile

/// 16 rows of x, equally far apart.
template <class Tile>
struct Rows {
  const typename Tile::X* first = nullptr;
  int64_t stride = 0;  // bytes

  K_FN const typename Tile::X& row(int i) const {
    return *reinterpret_cast<const typename Tile::X*>(reinterpret_cast<const uint8_t*>(first) + i * stride);
  }
};

/// Rows of x as they lie, or copied where they are fewer than 16: the last stands for the missing.
template <class Tile>
K_FN Rows<Tile> make_rows(int m, const typename Tile::X* const* x, int blocks, typename Tile::X* copies) {
  if (m >= kRows) return {x[0], reinterpret_cast<const uint8_t*>(x[1]) - reinterpret_cast<const uint8_t*>(x[0])};
  for (int i = 0; i < kRows; ++i)
    __builtin_memcpy(copies + i * blocks, x[i < m ? i : m - 1], blocks * sizeof(typename Tile::X));
  return {copies, int64_t(blocks * sizeof(typename Tile::X))};
}

K_FN Vec load_sum(const int32_t* sums, int row) { return to_float(load_int(sums + row * kLanes)); }

/// Units of 32: every product is a tile of its own, which becomes floats two units later.
template <class Tile>
struct Groups {
  static constexpr int kTogether = 1;  // tiles of rows
  static constexpr int kPlanes = Tile::kPlanes, kUnits = Tile::kBlock / Tile::kUnit, kLag = 2, kSlots = 2 * kLag;
  static constexpr int kA = 6, kB = 7;
  alignas(64) int32_t sums[kSlots][kPlanes][kRows * kLanes];

  template <int Odd, int P = 0>
  K_FN void dot(const typename Tile::X& x, int64_t stride, int unit) {
    constexpr int kSum = Odd * kPlanes + P;
    tile_zero<kSum>();
    tile_load<kA>(x.bytes[P] + unit * Tile::kUnit, stride);
    tile_dot4<true, kSum, kA, kB>();
    tile_store<kSum>(sums[unit % kSlots][P], kLanes * 4);
    if constexpr (P + 1 < kPlanes) dot<Odd, P + 1>(x, stride, unit);
  }
  template <int Odd>
  K_FN void dot_unit(const typename Tile::Weights& w, const Rows<Tile>& x, int unit) {
    tile_load<kB>(w.bytes, kLanes * 4);
    dot<Odd>(*x.first, x.stride, unit);
  }
  K_FN void add_unit(const typename Tile::Weights& w, const Rows<Tile>& x, int unit, Vec (&total)[kRows]) const {
    MLXN_UNROLL
    for (int i = 0; i < kRows; ++i) {
      Vec exact = load_sum(sums[unit % kSlots][0], i);
      for (int p = 1; p < kPlanes; ++p) exact = fma(exact, splat(256), load_sum(sums[unit % kSlots][p], i));
      const auto& of_x = x.row(i);
      Vec part = kPlanes == 1 ? exact * w.scale : fma(exact, w.scale, total[i]);
      if constexpr (Tile::kOffset) part = fma(w.offset[0], splat(of_x.sums[unit]), part);
      total[i] = kPlanes == 1 ? fma(part, splat(of_x.scale[unit]), total[i]) : part;
    }
  }
  /// A block of x, or what is left of it.
  K_FN void block(const typename Tile::Weights* w, int units, const Rows<Tile>& x, int m, float* y, bool add) {
    Vec total[kRows] = {};
    for (int u = 0; u < units + kLag; u += 2) {
      if (u < units) dot_unit<0>(w[u], x, u);
      if (u + 1 < units) dot_unit<1>(w[u + 1], x, u + 1);
      if (u >= kLag) add_unit(w[u - kLag], x, u - kLag, total);
      if (u >= kLag && u + 1 < units + kLag) add_unit(w[u - kLag + 1], x, u - kLag + 1, total);
    }
    MLXN_UNROLL
    for (int i = 0; i < kRows; ++i) {
      if (i >= m) continue;
      float* const to = y + i * Tile::kColumns;
      const Vec before = add ? load(to) : Vec{};
      store(to, kPlanes == 1 ? before + total[i] : fma(total[i], splat(x.row(i).scale[0]), before));
    }
  }
  K_FN void multiply(int m, const typename Tile::Weights* weights, int units, const Rows<Tile> (&rows)[1], float* y,
                     bool add) {
    for (int v = 0; v < Tile::kVectors; ++v)
      for (int u = 0; u < units; u += kUnits)
        block(weights + v * units + u, units - u < kUnits ? units - u : kUnits,
              {rows[0].first + u / kUnits, rows[0].stride}, m, y + v * kLanes, add || u > 0);
  }
  K_FN void finish() {}
};

/// Units of 256: sums over a unit, which become floats while the next one is multiplied.
template <class Tile>
struct Blocks {
  static constexpr int kTogether = Tile::kPlanes == 1 ? 2 : 1;
  static constexpr int kPlanes = Tile::kPlanes, kPowers = kPlanes + 1, kDepth = 64;

  struct Product {
    const typename Tile::Weights* w;
    Rows<Tile> x[kTogether];
    int m, slot;
    float* y;
    bool add;
  };
  alignas(64) int32_t sums[2][kTogether][kPowers][kRows * kLanes];
  Product last = {};

  /// Tiles are read as seldom as eight of them allow: a read holds the products up longer than they take.
  template <int Together>
  K_FN void dot(const Product& p) {
    constexpr int kSums = Together * kPowers;
    zero<0, kSums>();
    for (int k = 0; k < Tile::kBlock; k += kDepth) {
      const auto* const high = p.w->bytes[0] + k / 4;
      const auto* const low = p.w->bytes[1] + k / 4;
      if constexpr (kPlanes == 1) {
        tile_load<4>(p.x[0].first->bytes[0] + k, p.x[0].stride);
        tile_load<6>(high, kLanes * 4);
        tile_dot4<true, 0, 4, 6>();
        if constexpr (Together == 2) {
          tile_load<5>(p.x[1].first->bytes[0] + k, p.x[1].stride);
          tile_dot4<true, 2, 5, 6>();
        }
        tile_load<7>(low, kLanes * 4);
        tile_dot4<false, 1, 4, 7>();
        if constexpr (Together == 2) tile_dot4<false, 3, 5, 7>();
      } else {
        const auto& x = *p.x[0].first;
        tile_load<6>(x.bytes[0] + k, p.x[0].stride);
        tile_load<4>(high, kLanes * 4);
        tile_dot4<true, 0, 6, 4>();
        tile_load<5>(low, kLanes * 4);
        tile_dot4<false, 1, 6, 5>();
        tile_load<7>(x.bytes[1] + k, p.x[0].stride);
        tile_dot4<false, 2, 7, 5>();
        if constexpr (kPlanes == 3) {
          tile_load<6>(x.bytes[2] + k, p.x[0].stride);
          tile_dot4<false, 3, 6, 5>();
        }
        tile_dot4<true, 1, 7, 4>();
        if constexpr (kPlanes == 3) tile_dot4<true, 2, 6, 4>();
      }
    }
    keep<0, kSums>(&sums[p.slot][0][0][0]);
  }
  template <int I, int End>
  K_FN void zero() {
    tile_zero<I>();
    if constexpr (I + 1 < End) zero<I + 1, End>();
  }
  template <int I, int End>
  K_FN void keep(int32_t* to) {
    tile_store<I>(to, kLanes * 4);
    if constexpr (I + 1 < End) keep<I + 1, End>(to + kRows * kLanes);
  }

  K_FN void add(const Product& p) const {
    constexpr int kOffsets = Tile::kOffset ? Tile::kBlock / Tile::kGroup : 0;
    const Vec scale = p.w->scale;
    Vec offset[kOffsets + 1];
    for (int g = 0; g < kOffsets; ++g) offset[g] = p.w->offset[g];
    float* y = p.y;
    for (int i = 0; i < p.m; ++i, y += Tile::kColumns) {
      const auto& from = sums[p.slot][i / kRows];
      const auto& x = p.x[i / kRows].row(i % kRows);
      Vec exact = load_sum(from[0], i % kRows);
      MLXN_UNROLL
      for (int power = 1; power < kPowers; ++power) exact = fma(exact, splat(256), load_sum(from[power], i % kRows));
      Vec part = exact * scale;
      MLXN_UNROLL
      for (int g = 0; g < kOffsets; ++g) part = fma(offset[g], splat(x.sums[g]), part);
      store(y, fma(part, splat(x.scale[0]), p.add ? load(y) : Vec{}));
    }
  }

  K_FN void multiply(int m, const typename Tile::Weights* weights, int units, const Rows<Tile> (&rows)[kTogether],
                     float* y, bool add_to) {
    for (int v = 0; v < Tile::kVectors; ++v)
      for (int u = 0; u < units; ++u) {
        Product next{weights + v * units + u, {}, m, 1 - last.slot, y + v * kLanes, add_to || u > 0};
        for (int r = 0; r < kTogether; ++r) next.x[r] = {rows[r].first + u, rows[r].stride};
        if (kTogether == 1 || m <= kRows)
          dot<1>(next);
        else
          dot<kTogether>(next);
        finish();
        last = next;
      }
  }
  K_FN void finish() {
    if (last.w) add(last);
    last.w = nullptr;
  }
};

template <class Tile>
using WorkOf = std::conditional_t<Tile::kWeightPlanes == 2, Blocks<Tile>, Groups<Tile>>;

}  // namespace

template <int Unit, bool Offset, int Planes>
void AmxTile<Unit, Offset, Planes>::prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, X* to) {
  constexpr float kMost[] = {127, 127 << 8, 127 << 16};
  for (uint64_t b = begin; b < end; ++b) {
    const int length = int(k - b * kBlock < kBlock ? k - b * kBlock : kBlock);
    for (int start = 0; start < length; start += kScaled) {
      const float* const from = x + b * kBlock + start;
      const int count = length - start < kScaled ? length - start : kScaled;
      const Rounding rounding(largest(from, count), kMost[Planes - 1]);
      to[b].scale[start / kScaled] = rounding.scale;
      for (int i = 0; i < count; i += kGroup) {
        IntVec sums = {};
        MLXN_UNROLL
        for (int at = 0; at < kGroup; at += kLanes) {
          const IntVec q = to_nearest(load(from + i + at) * rounding.inverse);
          sums += q;
          store_planes(to[b].bytes, start + i + at, q);
        }
        if constexpr (Offset) to[b].sums[(start + i) / kGroup] = float(sum_lanes(sums));
      }
    }
  }
}

template <int Unit, bool Offset, int Planes>
void AmxTile<Unit, Offset, Planes>::multiply(int m, const Weights* weights, int units, const X* const* x, float* y,
                                             bool add) {
  using Work = WorkOf<AmxTile>;
  constexpr int kTogether = Work::kTogether, kAtOnce = kTogether * kRows;
  Work work;
  X copies[kRows * (kLength / kBlock)];  // of the last rows
  const int blocks = (units * Unit + kBlock - 1) / kBlock;
  for (int row = 0; row < m; row += kAtOnce, y += kAtOnce * kColumns) {
    const int count = m - row < kAtOnce ? m - row : kAtOnce;
    Rows<AmxTile> rows[kTogether];
    for (int r = 0; r < kTogether && r * kRows < count; ++r)
      rows[r] = make_rows<AmxTile>(count - r * kRows, x + row + r * kRows, blocks, copies);
    work.multiply(count, weights, units, rows, y, add);
  }
  work.finish();
}

template <int Unit, bool Offset, int Planes>
void AmxTile<Unit, Offset, Planes>::begin() {
  using Work = WorkOf<AmxTile>;
  static constexpr TileShapes kShapes = [] {
    TileShapes shapes;
    for (int tile = 0; tile < 8; ++tile) shapes.rows[tile] = kRows, shapes.row_bytes[tile] = kLanes * 4;
    if constexpr (kWeightPlanes == 1) {
      shapes.row_bytes[Work::kA] = Unit;
      shapes.rows[Work::kB] = Unit / 4;
    }
    return shapes;
  }();
  tiles_begin(kShapes);
}

template <int Unit, bool Offset, int Planes>
void AmxTile<Unit, Offset, Planes>::end() {
  tiles_end();
}

template struct AmxTile<32, false, 1>;
template struct AmxTile<32, false, 2>;
template struct AmxTile<32, false, 3>;
template struct AmxTile<32, true, 1>;
template struct AmxTile<32, true, 2>;
template struct AmxTile<32, true, 3>;
template struct AmxTile<256, false, 1>;
template struct AmxTile<256, false, 2>;
template struct AmxTile<256, false, 3>;
template struct AmxTile<256, true, 2>;
template struct AmxTile<256, true, 3>;

}  // namespace mlx_native::cpu::MLXN_ISA

#endif
