// The encoder that Q3_K, Q6_K and IQ4_XS share: 256 values in groups, value = d * scale[g] * q with integer scales.
#pragma once

#include "formats/search.h"

namespace mlx_native {

/// A search for the encoding of least weighted squared error: codes of a grid, groups of kGroup values, scales from
/// -kMost to kMost. Each group first gets a scale of its own; the largest gives d. Then, in turn, each group takes the
/// best of the integers around its own, and d is fitted to all groups.
template <class Grid, int kGroup, int kMost>
struct ScaleSearch {
  static constexpr int kGroups = 256 / kGroup;

  uint16_t d = 0;  // f16
  int scale[kGroups] = {};
  int8_t codes[256];

  ScaleSearch(const float* values, const float* importance) {
    const SearchBlock<256> block(values, importance, kHalfMax * float(kMost) * -float(Grid::kLow));
    if (!block.negligible) find(block);
    for (int g = 0; g < kGroups; ++g) {
      const Codes line(block.from_half(d) * float(scale[g]), 0);
      line.template encode<kGroup>(block.x + kGroup * g, codes + kGroup * g);
    }
  }

 private:
  using Codes = Line<Grid>;

  struct Fit {
    float error;
    uint16_t d;
    int scale[kGroups];
  };

  void find(const SearchBlock<256>& block) {
    float scales[kGroups], largest = 0;
    for (int g = 0; g < kGroups; ++g) {
      scales[g] = best_scale<Grid, kGroup>(block.x + kGroup * g, block.w + kGroup * g, [](float s) { return s; });
      largest = std::max(largest, std::fabs(scales[g]));
    }
    Fit best{};
    best.d = block.to_half_outward(largest / float(kMost));
    const float unit = block.from_half(best.d);
    for (int g = 0; g < kGroups; ++g)
      best.scale[g] = int(std::lround(std::clamp(scales[g] / unit, -float(kMost), float(kMost))));
    improve_groups(block, best);
    for (int round = 0; round < 4; ++round) {
      Fit next = best;
      improve_factor(block, next);
      improve_groups(block, next);
      if (next.error >= best.error) break;
      best = next;
    }
    d = best.d;
    std::copy(best.scale, best.scale + kGroups, scale);
  }

  /// Moves each group to the best scale near its own or near the opposite one; sets the error.
  static void improve_groups(const SearchBlock<256>& block, Fit& fit) {
    const float d = block.from_half(fit.d);
    fit.error = 0;
    for (int g = 0; g < kGroups; ++g) {
      const float *x = block.x + kGroup * g, *w = block.w + kGroup * g;
      // Codes lie unevenly about zero, so the sign matters; a sixteenth moves the outer codes by two.
      const int magnitude = std::abs(fit.scale[g]), reach = std::max(2, magnitude / 16);
      float least = INFINITY;
      for (int s = std::max(magnitude - reach, 0); s <= std::min(magnitude + reach, kMost); ++s) {
        for (const int signed_scale : {s, -s}) {
          const float e = Codes(d * float(signed_scale), 0).template error<kGroup>(x, w);
          if (e >= least) continue;
          least = e;
          fit.scale[g] = signed_scale;
        }
      }
      fit.error += least;
    }
  }

  /// The d of least error for the codes and scales of all groups.
  static void improve_factor(const SearchBlock<256>& block, Fit& fit) {
    const float d = block.from_half(fit.d);
    float dd = 0, xd = 0;
    for (int g = 0; g < kGroups; ++g) {
      const float s = float(fit.scale[g]);
      const Moments m = Codes(d * s, 0).template moments<kGroup>(block.x + kGroup * g, block.w + kGroup * g);
      dd += s * s * m.qq;
      xd += s * m.xq;
    }
    if (xd > 0) fit.d = block.to_half(xd / dd);
  }
};

}  // namespace mlx_native
