#pragma once

#include "args/matmul.h"
#include "cuda/tensor/packed_x.h"

namespace mlx_native::cuda {

/// What the kernels of both generations are given: a dense product, or a routed one.
struct MatMatProblem {
  const uint8_t* weight;
  float* output;
  PackedX x;
  Routing routing;  // null in a dense product
  uint64_t row_bytes, expert_stride;
  uint32_t m, n, k;
  // A product split along k: results of each part, [part][m][n]. Else null and 1.
  float* partial;
  uint32_t parts;
};

inline MatMatProblem dense_problem(const MatmulArgs& a, const PackedX& x, uint32_t parts = 1) {
  return {a.weight, a.output, x, {}, a.row_bytes, 0, a.m, a.n, a.k, nullptr, parts};
}
/// x and m are the routing's.
inline MatMatProblem routed_problem(const MatmulIdArgs& a, const PackedX& x, const Routing& routing) {
  return {a.weight, a.output, x, routing, a.row_bytes, a.expert_stride, 0, a.n, a.k, nullptr, 1};
}

}  // namespace mlx_native::cuda
