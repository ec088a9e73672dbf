// Included by the generated translation units alone.
#pragma once

#include <utility>

#include "cuda/tensor/mat_mat_wgmma.cuh"
#include "cuda/tensor/run_family.cuh"

namespace mlx_native::cuda {

/// After pack(), whose end alone it waits for before it reads x: weights are loaded and decoded meanwhile.
template <class Format, bool kFull, int kTokens>
void start_wgmma(Launch& on, const MatMatProblem& problem, std::uint32_t experts, std::uint64_t units) {
  using Shape = WgmmaShape<Format, kFull, kTokens>;
  if (on.status != cudaSuccess) return;
  WgmmaProblem p{problem, {}};
  on.status = map_weights(p.map, p.weight, p.row_bytes, p.n, experts, p.expert_stride, Shape::kCopyRows, Shape::kPitch,
                          Shape::kUnit);
  const auto groups =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(units, Shape::kResident * on.machine.multiprocessors));
  const bool may_overlap = std::exchange(on.may_overlap, true);
  on.start(reinterpret_cast<const void*>(&mat_mat_wgmma<Format, kFull, kTokens>),
           {groups, Shape::kThreads, Shape::kSharedBytes}, &p, true);
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
inline std::uint32_t routed_tile(const MatmulIdArgs& a, bool full) {
  const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k, experts = a.n_experts;
  return !full && slots <= 40 * experts ? 64 : full || slots <= 96 * experts ? 128 : 256;
}

template <class Format, bool kFull>
void start_wgmma(Launch& on, const MatMatProblem& p, std::uint32_t tile, std::uint32_t experts, std::uint64_t units) {
  if (tile == 128)
    start_wgmma<Format, kFull, 128>(on, p, experts, units);
  else if constexpr (!kFull)
    tile == 64 ? start_wgmma<Format, kFull, 64>(on, p, experts, units)
               : start_wgmma<Format, kFull, 256>(on, p, experts, units);
}

template <class Format, bool kFull>
void WgmmaMatMat<Format, kFull>::launch(Launch& on, const MatmulArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, 0)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  const MatMatProblem p{a.weight, a.output, carve(carver, a.m, a.k), {}, a.row_bytes, 0, a.m, a.n, a.k, nullptr, 1};
  pack(on, a.input, a.m, a.k, p.x);
  const std::uint32_t tile = dense_tile(a.m, a.n, on.machine.multiprocessors, kFull);
  start_wgmma<Format, kFull>(on, p, tile, 1, std::uint64_t{(a.n - 1) / 128 + 1} * ((a.m - 1) / tile + 1));
}

template <class Format, bool kFull>
void WgmmaMatMat<Format, kFull>::launch(Launch& on, const MatmulIdArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, a.expert_stride)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  const std::uint32_t tile = routed_tile(a, kFull);
  MatMatProblem p{a.weight, a.output, {}, {}, a.row_bytes, a.expert_stride, 0, a.n, a.k, nullptr, 1};
  p.routing = carve_routing(carver, a, tile);
  p.x = carve(carver, most_rows(a), a.k);
  route(on, a, p.routing, tile);
  pack_routed(on, a, p.routing, p.x);
  start_wgmma<Format, kFull>(on, p, tile, a.n_experts, most_tiles(a, tile) * ((a.n - 1) / 128 + 1));
}

template <class Format, bool kFull>
void WgmmaSplitMatMat<Format, kFull>::launch(Launch& on, const MatmulArgs& a) {
  if (!can_map(a.weight, a.row_bytes, a.n, 0)) return MmaMatMat<Format, kFull>::launch(on, a);
  Carver carver(a.scratch);
  MatMatProblem p{
      a.weight, a.output, WgmmaMatMat<Format, kFull>::carve(carver, a.m, a.k), {}, a.row_bytes, 0, a.m, a.n, a.k,
      nullptr,  1};
  p.parts = parts(a);
  p.partial = carver.take<float>(std::uint64_t{p.parts} * a.m * a.n);
  pack(on, a.input, a.m, a.k, p.x);
  start_wgmma<Format, kFull, kMostRows>(on, p, 1, std::uint64_t{(a.n - 1) / 128 + 1} * p.parts);
  add_parts(on, p);
}

}  // namespace mlx_native::cuda

#define MLXN_INSTANCE(Format, full)                                                                \
  template void run_tensor_family<WgmmaSplitMatMat<Format, full>, MatmulArgs>(const void*, void*); \
  template void run_tensor_family<WgmmaMatMat<Format, full>, MatmulArgs>(const void*, void*);      \
  template void run_tensor_family<WgmmaMatMat<Format, full>, MatmulIdArgs>(const void*, void*);
