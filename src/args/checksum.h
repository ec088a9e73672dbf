#pragma once

#include "core/dialect.h"

namespace mlx_native {

struct ChecksumArgs {
  const K_GLOBAL uint32_t* words;
  K_GLOBAL uint32_t* sums;  // of every `part` words
  uint64_t n_words;
  uint32_t part;
};

}  // namespace mlx_native
