#include "cpu/generic/byte_tile.h"

#if MLXN_HAS_DOT4

namespace mlx_native::cpu::MLXN_ISA {

namespace {

template <int M, int Group, bool Offset, int Planes>
K_FN void multiply_rows(const typename ByteTile<Group, Offset, Planes>::Weights* weights, int groups,
                        const typename ByteTile<Group, Offset, Planes>::X* const* rows,
                        Vec (*y)[ByteTile<Group, Offset, Planes>::kVectors]) {
  using Tile = ByteTile<Group, Offset, Planes>;
  constexpr int kVectors = Tile::kVectors, kGroupsOfBlock = Tile::kBlock / Group;
  const typename Tile::X* x[M];
  Vec total[M][kVectors];
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) {
    x[m] = rows[m];
    for (int v = 0; v < kVectors; ++v) y[m][v] = total[m][v] = Vec{};
  }
  for (int g = 0; g < groups; ++g) {
    const auto& w = weights[g];
    UIntVec sum[M][kVectors] = {};
    for (int p = 0; p < Planes; ++p) {
      if constexpr (Planes > 1) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m)
          for (int v = 0; v < kVectors; ++v) sum[m][v] <<= 8;
      }
      MLXN_UNROLL
      for (int j = 0; j < Group / 4; ++j) {
        MLXN_UNROLL
        for (int m = 0; m < M; ++m) {
          const UIntVec four = load_word<1>(reinterpret_cast<const uint8_t*>(x[m][g].bytes[p] + 4 * j)) + UIntVec{};
          for (int v = 0; v < kVectors; ++v) sum[m][v] = dot4(sum[m][v], w.codes[j][v], four);
        }
      }
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

}  // namespace

template <int Group, bool Offset, int Planes>
void ByteTile<Group, Offset, Planes>::prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, int32_t most,
                                              uint32_t bias, X* to) {
  for (uint64_t b = begin; b < end; ++b) {
    const int length = int(k - b * kBlock < kBlock ? k - b * kBlock : kBlock);
    const float* const from = x + b * kBlock;
    const float size = largest(from, length);
    const bool finite = size < __builtin_inff();
    const float inverse = finite && size > 0x1p-100f ? float(most) / size : 0;
    const float scale = finite ? size / float(most) : __builtin_nanf("");
    for (int i = 0; i < length; i += Group) {
      X& group = to[(b * kBlock + i) / Group];
      IntVec sums = {};
      MLXN_UNROLL
      for (int at = 0; at < Group; at += kLanes) {
        IntVec q = to_nearest(load(from + i + at) * inverse);
        sums += q;
        for (int p = Planes - 1; p > 0; --p) {
          const IntVec low = q << 24 >> 24;
          store_bytes(group.bytes[p] + at, low);
          q = (q - low) >> 8;
        }
        store_bytes(group.bytes[0] + at, q);
      }
      const int32_t sum = sum_lanes(sums);
      group.sum = Offset ? float_to_bits(float(sum)) : uint32_t(sum) * bias;
      group.scale = scale;
    }
  }
}

template <int Group, bool Offset, int Planes>
void ByteTile<Group, Offset, Planes>::multiply(int m, const Weights* weights, int groups, const X* const* x,
                                               Vec (*y)[kVectors]) {
  switch (m) {
    case 1: return multiply_rows<1, Group, Offset, Planes>(weights, groups, x, y);
    case 2: return multiply_rows<2, Group, Offset, Planes>(weights, groups, x, y);
    case 3: return multiply_rows<3, Group, Offset, Planes>(weights, groups, x, y);
    case 4: return multiply_rows<4, Group, Offset, Planes>(weights, groups, x, y);
    case 5: return multiply_rows<5, Group, Offset, Planes>(weights, groups, x, y);
    default: return multiply_rows<6, Group, Offset, Planes>(weights, groups, x, y);
  }
}

template struct ByteTile<32, false, 1>;
template struct ByteTile<32, false, 2>;
template struct ByteTile<32, false, 3>;
template struct ByteTile<32, true, 1>;
template struct ByteTile<32, true, 2>;
template struct ByteTile<32, true, 3>;
template struct ByteTile<16, false, 1>;
template struct ByteTile<16, false, 2>;
template struct ByteTile<16, false, 3>;

}  // namespace mlx_native::cpu::MLXN_ISA

#endif
