#pragma once

#include "formats/format.h"

namespace mlx_native {

/// The value itself.
struct F32 {
  K_STATIC bool kPlain = true;
  K_STATIC int kValues = 1, kAlign = 4;

  using Block = float;

  template <class Bits>
  static K_FN auto value(Bits b) {
    return b;
  }
};

}  // namespace mlx_native
