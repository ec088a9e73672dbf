#pragma once

#include "formats/format.h"

namespace mlx_native {

/// IEEE binary16.
struct F16 {
  K_STATIC bool kPlain = true;
  K_STATIC int kValues = 1, kAlign = 2;

  using Block = uint16_t;

  template <class Bits>
  static K_FN auto value(Bits b) {
    return half_to_float(b);
  }
};

}  // namespace mlx_native
