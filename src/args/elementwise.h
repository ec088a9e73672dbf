#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// For add and mul: b is one row where b_rows is 1. output may be a or b.
struct BinaryArgs {
  const K_GLOBAL float* a;
  const K_GLOBAL float* b;
  K_GLOBAL float* output;
  uint32_t rows, cols, b_rows;
};

struct SiluMulArgs {
  const K_GLOBAL float* gate;
  const K_GLOBAL float* up;
  K_GLOBAL float* output;
  uint64_t n;
};

struct GeluArgs {
  const K_GLOBAL float* input;
  K_GLOBAL float* output;
  uint64_t n;
  uint32_t erf;  // 1: the erf form; 0: the tanh form
};

}  // namespace mlx_native
