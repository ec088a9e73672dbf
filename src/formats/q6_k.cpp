#include "formats/q6_k.h"

#include "formats/encode.h"
#include "formats/search.h"

namespace mlx_native {
namespace {

using Codes = Line<-32, 31>;

struct Fit {
  float error;
  uint16_t d;
  int scale[16];
};

/// Moves each group to the best scale near its own or near the opposite one; sets the error.
void improve_groups(const SearchBlock<256>& block, Fit& fit) {
  const float d = block.from_half(fit.d);
  fit.error = 0;
  for (int g = 0; g < 16; ++g) {
    const float *x = block.x + 16 * g, *w = block.w + 16 * g;
    // Codes lie unevenly about zero, so the sign matters; a sixteenth moves the outer codes by two.
    const int magnitude = std::abs(fit.scale[g]), reach = std::max(2, magnitude / 16);
    float least = INFINITY;
    for (int s = std::max(magnitude - reach, 0); s <= std::min(magnitude + reach, 127); ++s) {
      for (const int signed_scale : {s, -s}) {
        const float e = Codes(d * float(signed_scale), 0).error<16>(x, w);
        if (e >= least) continue;
        least = e;
        fit.scale[g] = signed_scale;
      }
    }
    fit.error += least;
  }
}

/// The d of least error for the codes and scales of all groups.
void improve_factor(const SearchBlock<256>& block, Fit& fit) {
  const float d = block.from_half(fit.d);
  float dd = 0, xd = 0;
  for (int g = 0; g < 16; ++g) {
    const float s = float(fit.scale[g]);
    const Moments m = Codes(d * s, 0).moments<16>(block.x + 16 * g, block.w + 16 * g);
    dd += s * s * m.qq;
    xd += s * m.xq;
  }
  if (xd > 0) fit.d = block.to_half(xd / dd);
}

Fit best_fit(const SearchBlock<256>& block) {
  float scales[16], largest = 0;
  for (int g = 0; g < 16; ++g) {
    scales[g] = best_scale<-32, 31, 16>(block.x + 16 * g, block.w + 16 * g, [](float s) { return s; });
    largest = std::max(largest, std::fabs(scales[g]));
  }
  Fit best{};
  best.d = block.to_half_outward(largest / 127);
  const float d = block.from_half(best.d);
  for (int g = 0; g < 16; ++g) best.scale[g] = int(std::lround(std::clamp(scales[g] / d, -127.0f, 127.0f)));
  improve_groups(block, best);
  for (int round = 0; round < 4; ++round) {
    Fit next = best;
    improve_factor(block, next);
    improve_groups(block, next);
    if (next.error >= best.error) break;
    best = next;
  }
  return best;
}

}  // namespace

template <>
void encode_blocks<Q6_K>(const float* values, const float* importance, uint64_t n_blocks, Q6_K::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const SearchBlock<256> source(values + 256 * n, importance ? importance + 256 * n : nullptr, kHalfMax * 127 * 32);
    const Fit fit = source.negligible ? Fit{} : best_fit(source);
    Q6_K::Block block{};
    block.d = fit.d;
    int q[256];
    for (int g = 0; g < 16; ++g) {
      block.scales[g] = int8_t(fit.scale[g]);
      Codes(source.from_half(fit.d) * float(fit.scale[g]), 0).encode<16>(source.x + 16 * g, q + 16 * g);
    }
    for (int i = 0; i < 256; ++i) {
      const int code = q[i] + 32;
      const int half = i / 128, quarter = i / 32 % 4;
      block.ql[64 * half + 32 * (quarter % 2) + i % 32] |= uint8_t((code & 15) << 4 * (quarter / 2));
      block.qh[32 * half + i % 32] |= uint8_t((code >> 4) << 2 * quarter);
    }
    blocks[n] = block;
  }
}

}  // namespace mlx_native
