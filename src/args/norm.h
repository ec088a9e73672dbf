#pragma once

#include "core/dialect.h"

namespace mlx_native {

struct RmsNormArgs {
  const K_GLOBAL float* input;
  const K_GLOBAL float* weight;
  K_GLOBAL float* output;  // may be input
  uint32_t rows, dim;
  float eps;
};

}  // namespace mlx_native
