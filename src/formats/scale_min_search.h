// The encoder that Q2_K, Q4_K and Q5_K share: 256 values in groups, value = d * scale[g] * q - dmin * min[g] with
// integer scales and mins.
#pragma once

#include "formats/format.h"
#include "formats/search.h"

namespace mlx_native {

/// 8 pairs of 6 bits as ScaleMin6 reads them.
inline void pack_scale_min6(const int (&scale)[8], const int (&min)[8], uint8_t* bytes) {
  for (int j = 0; j < 4; ++j) {
    bytes[j] = uint8_t(scale[j] | (scale[j + 4] >> 4) << 6);
    bytes[j + 4] = uint8_t(min[j] | (min[j + 4] >> 4) << 6);
    bytes[j + 8] = uint8_t((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

template <int kGroups>
struct ScaleMinBlock {
  uint16_t d, dmin;  // f16
  int scale[kGroups], min[kGroups];
  uint8_t codes[256];
};

/// A search for the encoding of least weighted squared error: codes from 0 to kHigh, groups of kGroup values, scales
/// and mins from 0 to kMost. Each group first gets a free line; these give d and dmin. Then, in turn, each group takes
/// the best of the pairs of integers around its own, and d and dmin are fitted to all groups.
template <int kHigh, int kGroup, int kMost>
class ScaleMinSearch {
 public:
  static constexpr int kGroups = 256 / kGroup;
  using Block = ScaleMinBlock<kGroups>;

  static Block run(const float* values, const float* importance) {
    SearchBlock<256> block(values, importance, kHalfMax * float(kMost * kHigh));
    if (block.negligible) return {};
    // Negative d and dmin mirror the line: offsets above zero, codes downwards. Either may fit better.
    const Fit upright = fit(block);
    for (float& x : block.x) x = -x;
    const Fit mirrored = fit(block);
    if (mirrored.error < upright.error) return finish(block, mirrored, 0x8000u);
    for (float& x : block.x) x = -x;
    return finish(block, upright, 0);
  }

 private:
  using Codes = Line<Integers<0, kHigh>>;

  struct Fit {
    float error;
    uint16_t d, dmin;
    int scale[kGroups], min[kGroups];
  };

  static Fit fit(const SearchBlock<256>& block) {
    Affine lines[kGroups];
    float steepest = 0, lowest = 0;
    for (int g = 0; g < kGroups; ++g) {
      lines[g] = best_line<kHigh, kGroup, true>(block.x + kGroup * g, block.w + kGroup * g, [](Affine l) { return l; });
      steepest = std::max(steepest, lines[g].scale);
      lowest = std::min(lowest, lines[g].offset);
    }
    Fit best{};
    best.d = block.to_half_outward(steepest / float(kMost));
    best.dmin = block.to_half_outward(-lowest / float(kMost));
    for (int g = 0; g < kGroups; ++g) {
      best.scale[g] = steps(lines[g].scale, block.from_half(best.d));
      best.min[g] = steps(-lines[g].offset, block.from_half(best.dmin));
    }
    improve_groups(block, 3, best);
    for (int round = 0; round < kRounds; ++round) {
      Fit next = best;
      improve_factors(block, next);
      improve_groups(block, 2, next);
      if (next.error >= best.error) break;
      best = next;
    }
    return best;
  }

  /// `value` in steps of a factor, at most kMost.
  static int steps(float value, float factor) {
    return factor > 0 ? int(std::min(value / factor, float(kMost)) + 0.5f) : 0;
  }

  /// Moves each group to the best pair at most `reach` from its own; sets the error.
  static void improve_groups(const SearchBlock<256>& block, int reach, Fit& fit) {
    const float d = block.from_half(fit.d), dmin = block.from_half(fit.dmin);
    fit.error = 0;
    for (int g = 0; g < kGroups; ++g) {
      const float *x = block.x + kGroup * g, *w = block.w + kGroup * g;
      const int scale = fit.scale[g], min = fit.min[g];
      float least = INFINITY;
      for (int s = std::max(scale - reach, 0); s <= std::min(scale + reach, kMost); ++s) {
        for (int m = std::max(min - reach, 0); m <= std::min(min + reach, kMost); ++m) {
          const float e = Codes(d * float(s), -(dmin * float(m))).template error<kGroup>(x, w);
          if (e >= least) continue;
          least = e;
          fit.scale[g] = s;
          fit.min[g] = m;
        }
      }
      fit.error += least;
    }
  }

  /// The d and dmin of least error for the codes and integers of all groups.
  static void improve_factors(const SearchBlock<256>& block, Fit& fit) {
    const float d = block.from_half(fit.d), dmin = block.from_half(fit.dmin);
    // Normal equations of x = d * (scale * q) - dmin * min.
    float dd = 0, dm = 0, mm = 0, xd = 0, xm = 0;
    for (int g = 0; g < kGroups; ++g) {
      const float s = float(fit.scale[g]), m = float(fit.min[g]);
      const Moments sums =
          Codes(d * s, -(dmin * m)).template moments<kGroup>(block.x + kGroup * g, block.w + kGroup * g);
      dd += s * s * sums.qq;
      dm -= s * m * sums.q;
      mm += m * m * sums.w;
      xd += s * sums.xq;
      xm -= m * sums.x;
    }
    const float det = dd * mm - dm * dm;
    float new_d = d, new_dmin = dmin;
    if (det > 1e-5f * dd * mm) {
      new_d = (xd * mm - xm * dm) / det;
      new_dmin = (dd * xm - dm * xd) / det;
    } else if (dd > 0) {
      new_d = (xd - dmin * dm) / dd;
    }
    if (new_d > 0 && new_dmin >= 0) {
      fit.d = block.to_half(new_d);
      fit.dmin = block.to_half(new_dmin);
    }
  }

  static Block finish(const SearchBlock<256>& block, const Fit& fit, uint32_t sign) {
    const float d = block.from_half(fit.d), dmin = block.from_half(fit.dmin);
    Block out{};
    out.d = uint16_t(fit.d ? fit.d | sign : 0);
    out.dmin = uint16_t(fit.dmin ? fit.dmin | sign : 0);
    for (int g = 0; g < kGroups; ++g) {
      out.scale[g] = fit.scale[g];
      out.min[g] = fit.min[g];
      const Codes line(d * float(fit.scale[g]), -(dmin * float(fit.min[g])));
      line.template encode<kGroup>(block.x + kGroup * g, out.codes + kGroup * g);
    }
    return out;
  }

  static constexpr int kRounds = 4;
};

}  // namespace mlx_native
