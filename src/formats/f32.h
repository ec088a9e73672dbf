#pragma once

#include "formats/format.h"

namespace mlx_native {

/// The value itself.
struct F32 {
  K_STATIC bool kPlain = true;
  K_STATIC int kValues = 1, kAlign = 4;

  using Block = float;

  static K_FN float value(Block b) { return b; }
};

}  // namespace mlx_native
