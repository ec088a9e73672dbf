#pragma once

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

}  // namespace mlx_native::cuda
