#pragma once

#include "formats/iq4_values.h"
#include "formats/search.h"

namespace mlx_native {

/// The codes of the IQ4 formats, for Line.
struct Iq4Grid {
  static constexpr int kLow = int(kIq4Values[0]) - 128, kHigh = int(kIq4Values[15]) - 128;
  static constexpr int kSteps = 7;

  static Lanes nearest(Lanes t) {
    Lanes nearest = Lanes{} + float(kLow);
    for (int i = 1; i < 16; ++i) {
      const float below = float(kIq4Values[i - 1]) - 128.0f, here = float(kIq4Values[i]) - 128.0f;
      nearest = t > 0.5f * (below + here) ? Lanes{} + here : nearest;
    }
    return nearest;
  }
  /// The four bits that stand for a value of the grid.
  static uint8_t index(int8_t value) {
    return uint8_t(std::lower_bound(kIq4Values, kIq4Values + 16, uint8_t(value + 128)) - kIq4Values);
  }
};

}  // namespace mlx_native
