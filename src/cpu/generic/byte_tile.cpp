#include "cpu/generic/byte_tile.h"

#include "cpu/generic/rounding.h"
#include "formats/list.h"

#if MLXN_HAS_BYTES

namespace mlx_native::cpu::MLXN_ISA {

namespace {

K_FN UIntVec four_bytes(const int8_t* p) { return load_word<1>(reinterpret_cast<const uint8_t*>(p)) + UIntVec{}; }

template <class Tile, int M>
K_FN void multiply_rows(const typename Tile::Weights* weights, int groups, const typename Tile::X* const* rows,
                        Vec (*y)[Tile::kVectors], const Ahead& ahead) {
  constexpr int kVectors = Tile::kVectors, kGroupsOfBlock = Tile::kBlock / Tile::kGroup, Planes = Tile::kPlanes;
  constexpr bool Offset = Tile::kOffset;
  const typename Tile::X* x[M];
  Vec total[M][kVectors];
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) {
    x[m] = rows[m];
    for (int v = 0; v < kVectors; ++v) y[m][v] = total[m][v] = Vec{};
  }
  Ahead::Steps asking = ahead.in(groups);
  for (int g = 0; g < groups; ++g) {
    const auto& w = weights[g];
    asking.next();
    UIntVec sum[M][kVectors] = {};
    MLXN_UNROLL
    for (int p = 0; p < Planes; ++p) {
      if constexpr (Planes > 1) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m)
          for (int v = 0; v < kVectors; ++v) sum[m][v] <<= 8;
      }
#if MLXN_WIDE_DOT
      // Read anew for each plane: kept from one to the next, codes take the registers of the sums.
      const auto& codes = (Planes > 1 ? opaque(&w) : &w)->codes;
      MLXN_UNROLL
      for (int j = 0; j < Tile::kGroup / 4; ++j) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) {
          const UIntVec four = four_bytes(x[m][g].bytes[p] + 4 * j);
          for (int v = 0; v < kVectors; ++v) sum[m][v] = dot4(sum[m][v], codes[j][v], four);
        }
      }
#else
      constexpr int kAtOnce = Tile::kChain == kSignedCodes ? 1 : Tile::kChain;
      MLXN_UNROLL
      for (int start = 0; start < Tile::kGroup / 4; start += kAtOnce) {
        UIntVec pairs[M][kVectors];
        MLXN_UNROLL
        for (int j = start; j < start + kAtOnce; ++j) {
          MLXN_UNROLL
          for (int m = 0; m < M; ++m) {
            const UIntVec four = four_bytes(x[m][g].bytes[p] + 4 * j);
            for (int v = 0; v < kVectors; ++v) {
              const UIntVec two =
                  Tile::kChain == kSignedCodes ? signed_pairs(w.codes[j][v], four) : pairs_of(w.codes[j][v], four);
              pairs[m][v] = j == start ? two : add_pairs(pairs[m][v], two);
              complete(pairs[m][v]);
            }
          }
        }
        MLXN_UNROLL
        for (int m = 0; m < M; ++m)
          for (int v = 0; v < kVectors; ++v) {
            sum[m][v] += widen_pairs(pairs[m][v]);
            complete(sum[m][v]);
          }
      }
#endif
    }
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      const auto& of_x = x[m][g];
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (!Offset) sum[m][v] -= of_x.sum;
        const Vec exact = to_float(reinterpret_cast<IntVec>(sum[m][v]));
        Vec part = Planes == 1 ? exact * w.scale[v] : fma(exact, w.scale[v], total[m][v]);
        if constexpr (Offset) part = fma(w.offset[v], splat(bits_to_float(of_x.sum)), part);
        total[m][v] = Planes == 1 ? fma(part, splat(of_x.scale), total[m][v]) : part;
      }
    }
    if (Planes > 1 && ((g + 1) % kGroupsOfBlock == 0 || g + 1 == groups)) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m)
        for (int v = 0; v < kVectors; ++v) {
          y[m][v] = fma(total[m][v], splat(x[m][g].scale), y[m][v]);
          total[m][v] = Vec{};
        }
    }
  }
  if constexpr (Planes == 1) {
    MLXN_UNROLL
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < kVectors; ++v) y[m][v] = total[m][v];
  }
}

template <class Tile, int M>
K_FN void choose(int m, const typename Tile::Weights* weights, int groups, const typename Tile::X* const* x,
                 Vec (*y)[Tile::kVectors], const Ahead& ahead) {
  if (m == M) return multiply_rows<Tile, M>(weights, groups, x, y, ahead);
  if constexpr (M > 1) choose<Tile, M - 1>(m, weights, groups, x, y, ahead);
}

}  // namespace

template <int Group, bool Offset, int Planes, int Chain>
void ByteTile<Group, Offset, Planes, Chain>::prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end,
                                                     int32_t most, uint32_t bias, X* to) {
  for (uint64_t b = begin; b < end; ++b) {
    const int length = int(k - b * kBlock < kBlock ? k - b * kBlock : kBlock);
    const float* const from = x + b * kBlock;
    const Rounding rounding(largest(from, length), float(most));
    for (int i = 0; i < length; i += Group) {
      X& group = to[(b * kBlock + i) / Group];
      IntVec sums = {};
      MLXN_UNROLL
      for (int at = 0; at < Group; at += kLanes) {
        const IntVec q = to_nearest(load(from + i + at) * rounding.inverse);
        sums += q;
        store_planes(group.bytes, at, q);
      }
      const int32_t sum = sum_lanes(sums);
      group.sum = Offset ? float_to_bits(float(sum)) : uint32_t(sum) * bias;
      group.scale = rounding.scale;
    }
  }
}

template <int Group, bool Offset, int Planes, int Chain>
void ByteTile<Group, Offset, Planes, Chain>::multiply(int m, const Weights* weights, int groups, const X* const* x,
                                                      Vec (*y)[kVectors], const Ahead& ahead) {
  return choose<ByteTile, kTileRows>(m, weights, groups, x, y, ahead);
}

namespace {

/// Compiled because it stands here.
template <class Tile>
struct Kept {
  decltype(&Tile::prepare) prepare = &Tile::prepare;
  decltype(&Tile::multiply) multiply = &Tile::multiply;
};
template <class Format>
struct TilesOf {
  Kept<ByteTileOf<Format, 1>> one;
#if MLXN_WIDE_DOT
  Kept<ByteTileOf<Format, 2>> two;
  Kept<ByteTileOf<Format, 3>> three;
#endif
};
template <class Format>
requires(Format::kPlain) struct TilesOf<Format> {
};

#define MLXN_FORMAT(Name, ggml_name) [[gnu::used]] constexpr TilesOf<Name> kTilesOf##Name{};
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

}  // namespace

}  // namespace mlx_native::cpu::MLXN_ISA

#endif
