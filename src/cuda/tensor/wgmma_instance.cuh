// Included by the generated translation units alone.
#pragma once

#include <utility>

#include "cuda/tensor/mat_mat_wgmma.cuh"
#include "cuda/tensor/run_family.cuh"

namespace mlx_native::cuda {

/// How many groups take the tiles of a product whose groups share x: as few as need no more rounds than all do.
inline std::uint32_t sharing_groups(std::uint32_t m, std::uint32_t n, std::uint32_t tile, std::uint32_t sms) {
  const std::uint32_t pairs = (n / 128 + 1) / 2 * ((m - 1) / tile + 1), rounds = (pairs - 1) / (sms / 2) + 1;
  return 2 * ((pairs - 1) / rounds + 1);
}

/// Rows of x that are to be packed before such a product starts: what its first round needs, and more if the others
/// would not be packed meanwhile.
inline std::uint32_t rows_before(std::uint32_t m, std::uint32_t n, std::uint32_t tile, std::uint32_t sms, bool full) {
  const std::uint32_t groups = sharing_groups(m, n, tile, sms), row_tiles = (n - 1) / 128 + 1;
  // That a group packs while it multiplies a tile: less than it can, for waiting costs more than is won.
  const std::uint32_t rows_a_round = groups * (full ? 2 : 6);
  for (std::uint32_t rows = tile, units = row_tiles; rows < m; rows += tile, units += row_tiles)
    if (m - rows <= units / groups * rows_a_round) return rows;
  return m;
}

/// After pack(), whose end alone it waits for before it reads x: weights are loaded and decoded meanwhile.
template <class Format, bool kFull, class Plan>
void start_wgmma(Launch& on, const MatMatProblem& problem, std::uint32_t experts, std::uint64_t token_tiles, bool once,
                 bool paired = false, const PackedBehind& behind = {}) {
  using Shape = WgmmaShape<Format, kFull, Plan>;
  if (on.status != cudaSuccess) return;
  WgmmaProblem p{problem, {}, behind, once, paired};
  on.status = map_weights(p.map, p.weight, p.row_bytes, p.n, experts, p.expert_stride, Shape::kCopyRows, Shape::kPitch,
                          Shape::kUnit, once);
  constexpr std::uint32_t kCluster = Plan::kShareX ? 2 : 1;
  const std::uint64_t units = ((p.n - 1) / Shape::kRows + 1) * token_tiles * p.parts;
  const auto groups = static_cast<std::uint32_t>(
      paired ? units
      : behind.taken
          ? sharing_groups(p.m, p.n, Plan::kTokens, on.machine.multiprocessors)
          : std::min<std::uint64_t>(units, Shape::kResident * on.machine.multiprocessors / kCluster * kCluster));
  const bool may_overlap = std::exchange(on.may_overlap, true);
  on.start(reinterpret_cast<const void*>(&mat_mat_wgmma<Format, kFull, Plan>),
           {groups, Shape::kThreads, Shape::kSharedBytes, paired ? 2u : kCluster}, &p, true);
  on.may_overlap = may_overlap;
}

/// Rows of x in a tile of a dense product: what costs less in all rounds of the multiprocessors. A tile of 256 rows
/// takes 1.5 times as long as one of 128.
inline std::uint32_t dense_tile(std::uint32_t m, std::uint32_t n, std::uint32_t sms, bool full) {
  const auto rounds = [&](std::uint32_t rows) {
    return (std::uint64_t{(n - 1) / 128 + 1} * ((m - 1) / rows + 1) - 1) / sms + 1;
  };
  return full || 2 * rounds(128) <= 3 * rounds(256) ? 128 : 256;
}

/// Whether two groups of a dense product share x.
inline bool shares_x(std::uint32_t m, std::uint32_t n, std::uint32_t tile, std::uint32_t sms, bool full) {
  const std::uint32_t row_tiles = (n - 1) / 128 + 1, tiles = (m - 1) / tile + 1;
  return row_tiles % 2 == 0 && (tile == 256 || (full && row_tiles * tiles > sms));
}

template <class Format, bool kFull>
void start_wgmma(Launch& on, const MatMatProblem& p, std::uint32_t tile, std::uint32_t experts,
                 std::uint64_t token_tiles, bool once, bool shares = false, const PackedBehind& behind = {}) {
  const auto start = [&]<class Plan>(Plan) {
    start_wgmma<Format, kFull, Plan>(on, p, experts, token_tiles, once, false, behind);
  };
  if constexpr (!kFull) {
    if (tile == 64) {
      // Latency bounds products of few rows of x, and they need few registers.
      constexpr bool kTwoFit = WgmmaShape<Format, kFull, Plan<64>>::kBuffer <= 36 << 10;
      constexpr int kResident = kTwoFit ? 2 : 1;
      return start(Plan<64, 2, kResident, !kTwoFit, 16, 4, true>{});
    }
    // More warps to decode, and fewer copies of x, in tiles that most experts' rows fit. Where experts have about 128
    // rows, every other one needs few columns more.
    if constexpr (!Format::kPlain)
      if (tile == 160) return start(Plan<160, 3, 1, false, 32, 5, true>{});
    // A fourth width would leave the compiler too few registers for sums of 256 columns.
    if (tile == 256 && shares) return start(Plan<256, 2, 1, true, 64, 3, false, true>{});
    if (tile == 256) return start(Plan<256, 2, 1, true, 64, 3>{});
  } else if (shares) {
    return start(Plan<128, 2, 1, true, 32, 4, false, true>{});
  }
  start(Plan<128>{});
}

template <class Format, bool kFull>
void WgmmaMatMat<Format, kFull>::launch(Launch& on, const MatmulArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, 0)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  const PackedX own = carve(carver, a.m, a.k);
  const std::uint32_t sms = on.machine.multiprocessors, tile = dense_tile(a.m, a.n, sms, kFull);
  const std::uint32_t tiles = (a.m - 1) / tile + 1;
  const bool shares = shares_x(a.m, a.n, tile, sms, kFull);
  PackedBehind behind{};
  if (shares && tiles >= 4 && a.k >= 2048 && a.k % 512 == 0 && reinterpret_cast<uintptr_t>(a.input) % 16 == 0) {
    const std::uint32_t first = rows_before(a.m, a.n, tile, sms, kFull);
    if (first < a.m) behind = {a.input, carver.take<std::uint32_t>(2), first};
  }
  const MatMatProblem p = dense_problem(a, pack(on, a.input, a.m, a.k, own, &behind));
  start_wgmma<Format, kFull>(on, p, tile, 1, tiles, tiles == 1, shares, behind);
}

template <class Format, bool kFull>
void WgmmaMatMat<Format, kFull>::launch(Launch& on, const MatmulIdArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, a.expert_stride)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  const std::uint32_t tile = tile_rows(a);
  Routing routing = carve_routing(carver, a, tile);
  routing.gathered = gathers(a);
  // Chunks of a row share lines: where an expert has many rows of x, a line would be gone before the next chunk is due.
  const bool few = std::uint64_t{a.n_tokens} * a.top_k <= std::uint64_t{16} * a.n_experts;
  const PackedX x = carve(carver, routing.gathered ? a.n_tokens : most_rows(a), a.k);
  const MatMatProblem p = routed_problem(a, x, routing);
  route(on, a, p.routing, tile, p.x);
  start_wgmma<Format, kFull>(on, p, tile, a.n_experts, most_tiles(a, tile), few);
}

template <class Format, bool kFull>
void WgmmaSplitMatMat<Format, kFull>::launch(Launch& on, const MatmulArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, 0)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  const PackedX own = WgmmaMatMat<Format, kFull>::carve(carver, a.m, a.k);
  MatMatProblem p = dense_problem(a, pack(on, a.input, a.m, a.k, own), parts(a));
  p.partial = carver.take<float>(std::uint64_t{p.parts} * a.m * a.n);
  start_wgmma<Format, kFull, Plan<kMostRows>>(on, p, 1, 1, true);
  add_parts(on, p);
}

template <class Format, bool kFull>
void WgmmaPairMatMat<Format, kFull>::launch(Launch& on, const MatmulArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, 0)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  const PackedX own = WgmmaMatMat<Format, kFull>::carve(carver, a.m, a.k);
  const MatMatProblem p = dense_problem(a, pack(on, a.input, a.m, a.k, own), 2);
  const std::uint32_t width = tile(a), tiles = (a.m - 1) / width + 1;
  if constexpr (!kFull)
    if (width == 256)
      return start_wgmma<Format, kFull, Plan<256, 2, 1, true, 64, 3>>(on, p, 1, tiles, tiles == 1, true);
  start_wgmma<Format, kFull, Plan<128>>(on, p, 1, tiles, tiles == 1, true);
}

}  // namespace mlx_native::cuda

#define MLXN_INSTANCE(Format, full)                                                                \
  template void run_tensor_family<WgmmaSplitMatMat<Format, full>, MatmulArgs>(const void*, void*); \
  template void run_tensor_family<WgmmaPairMatMat<Format, full>, MatmulArgs>(const void*, void*);  \
  template void run_tensor_family<WgmmaMatMat<Format, full>, MatmulArgs>(const void*, void*);      \
  template void run_tensor_family<WgmmaMatMat<Format, full>, MatmulIdArgs>(const void*, void*);
