#pragma once

#include "core/dialect.h"

namespace mlx_native {

// `fault` stays 0 unless the kernel meets a value that the op calls an error; it then holds 1 + the row.

struct ArgmaxArgs {
  const K_GLOBAL float* input;
  K_GLOBAL uint32_t* index;
  K_GLOBAL uint32_t* fault;
  uint32_t rows, cols;
};

struct SampleArgs {
  const K_GLOBAL float* logits;
  const K_GLOBAL uint32_t* history;
  K_GLOBAL uint32_t* token;
  K_GLOBAL uint32_t* fault;
  K_GLOBAL uint8_t* scratch;
  uint64_t seed, step;
  uint32_t n_vocab, n_history, top_k;
  float repeat_penalty, temperature, top_p, min_p;
};

}  // namespace mlx_native
