// Included by the generated translation units alone.
#pragma once

#include "cuda/tensor/families.h"
#include "cuda/tensor/mat_mat_mma.cuh"
#include "cuda/tensor/run_family.cuh"

namespace mlx_native::cuda {

template <class Format, bool kFull>
void start_mma(Launch& on, const MatMatProblem& p, std::uint32_t tile_rows, std::uint64_t token_tiles) {
  const std::uint64_t groups = token_tiles * ((p.n - 1) / MmaShape::kRows + 1);
  if (groups > 0x7fffffff) {
    on.status = cudaErrorInvalidConfiguration;
    return;
  }
  const auto start = [&]<int kTokens>() {
    on.start(reinterpret_cast<const void*>(&mat_mat_mma<Format, kFull, kTokens>),
             {static_cast<std::uint32_t>(groups), MmaShape::kThreads, MmaShape::kSharedBytes<kFull, kTokens>}, &p,
             false);
  };
  tile_rows == 16 ? start.template operator()<16>() : start.template operator()<64>();
}

template <class Format, bool kFull>
void MmaMatMat<Format, kFull>::launch(Launch& on, const MatmulArgs& a) {
  Carver carver(a.scratch);
  const PackedX x = pack(on, a.input, a.m, a.k, carve_x(carver, a.m, a.k, kFull));
  const MatMatProblem p = dense_problem(a, x);
  const std::uint32_t rows = a.m <= 16 ? 16 : 64;
  start_mma<Format, kFull>(on, p, rows, (a.m - 1) / rows + 1);
}

template <class Format, bool kFull>
void MmaMatMat<Format, kFull>::launch(Launch& on, const MatmulIdArgs& a) {
  Carver carver(a.scratch);
  const std::uint32_t rows = tile_rows(a);
  const Routing routing = carve_routing(carver, a, rows);
  const MatMatProblem p = routed_problem(a, carve_x(carver, most_rows(a), a.k, kFull), routing);
  route(on, a, p.routing, rows, p.x);
  start_mma<Format, kFull>(on, p, rows, most_tiles(a, rows));
}

}  // namespace mlx_native::cuda

#define MLXN_INSTANCE(Format, full)                                                         \
  template struct MmaMatMat<Format, full>;                                                  \
  template void run_tensor_family<MmaMatMat<Format, full>, MatmulArgs>(const void*, void*); \
  template void run_tensor_family<MmaMatMat<Format, full>, MatmulIdArgs>(const void*, void*);
