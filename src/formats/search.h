// Tools of the encoders: a block's values in a safe range, and the search for scales of least weighted squared error
// where integer codes q stand for scale * q + offset.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/f16.h"
#include "formats/format.h"

namespace mlx_native {

/// The values of a block, clipped to the largest magnitude that its format holds, over a power of two, and their
/// weights over the largest weight: squares and sums of them neither overflow nor vanish, whatever finite values come.
template <int kCount>
struct SearchBlock {
  float x[kCount] = {};  ///< the largest magnitude is in [1, 2)
  float w[kCount] = {};  ///< in (0, 1]
  float unit = 1;        ///< x = value / unit, a power of two
  bool negligible;       ///< below half the smallest f16: all codes are zero, and x is set to that

  SearchBlock(const float* values, const float* importance, float limit) {
    float largest = 0, heaviest = 0;
    for (int i = 0; i < kCount; ++i) largest = std::max(largest, std::fabs(values[i]));
    negligible = largest < 0x1p-25f;
    if (negligible) return;
    unit = std::ldexp(1.0f, std::ilogb(std::min(largest, limit)));
    for (int i = 0; i < kCount; ++i) x[i] = std::clamp(values[i], -limit, limit) / unit;
    if (importance) heaviest = *std::max_element(importance, importance + kCount);
    // The small constant keeps the least squares of groups without weight defined.
    for (int i = 0; i < kCount; ++i) w[i] = heaviest > 0 ? std::max(importance[i] / heaviest, 1e-6f) : 1.0f;
  }

  /// f16 bits of a factor that is `d` in units of x: the nearest finite one.
  uint16_t to_half(float d) const { return float_to_finite_half(d * unit); }
  /// The same, rounded away from zero: nothing but zero itself becomes zero.
  uint16_t to_half_outward(float d) const {
    const float magnitude = std::fabs(d);
    uint16_t bits = to_half(magnitude);
    if (from_half(bits) < magnitude && bits < kHalfMaxBits) ++bits;
    return uint16_t(d < 0 ? bits | 0x8000u : bits);
  }
  /// The factor that a decoder sees, in units of x.
  float from_half(uint16_t bits) const { return half_to_float(bits) / unit; }
};

/// Four values that are worked on at once, with the same bits on any machine.
using Lanes = float __attribute__((vector_size(16)));
inline Lanes load_lanes(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline float total(Lanes v) { return (v[0] + v[1]) + (v[2] + v[3]); }

/// Weighted sums over a group, with its codes.
struct Moments {
  float w, x, q, qq, xq;
};

/// Codes that are all integers from kLow to kHigh.
template <int kFrom, int kTo>
struct Integers {
  static constexpr int kLow = kFrom, kHigh = kTo;
  static constexpr int kSteps = kTo;  ///< from 0 to the largest
  /// Of numbers within them; ties to even: the sum with 1.5 * 2^23 is an integer.
  static Lanes nearest(Lanes t) { return (t + 12582912.0f) - 12582912.0f; }
};

/// value = scale * q + offset with codes q of a grid.
template <class Grid>
class Line {
 public:
  Line(float scale, float offset)
      // A scale that is nothing beside values near 1 has one code.
      : scale_(scale), inverse_(std::fabs(scale) > 0x1p-100f ? 1.0f / scale : 0.0f), offset_(offset) {
    const float low = scale * float(Grid::kLow), high = scale * float(Grid::kHigh);
    bottom_ = Lanes{} + std::min(low, high);
    top_ = Lanes{} + std::max(low, high);
  }

  /// Sum of w * (x - decoded)^2 over kCount values.
  template <int kCount>
  float error(const float* x, const float* w) const {
    Lanes sum[2] = {};
    for (int i = 0; i < kCount; i += 4) {
      const Lanes v = load_lanes(x + i), e = v - (codes(v) * scale_ + offset_);
      sum[i / 4 % 2] += load_lanes(w + i) * e * e;
    }
    return total(sum[0] + sum[1]);
  }

  template <int kCount>
  Moments moments(const float* x, const float* w) const {
    Lanes sw{}, sx{}, sq{}, sqq{}, sxq{};
    for (int i = 0; i < kCount; i += 4) {
      const Lanes v = load_lanes(x + i), q = codes(v), weight = load_lanes(w + i), wq = weight * q;
      sw += weight;
      sx += weight * v;
      sq += wq;
      sqq += wq * q;
      sxq += wq * v;
    }
    return {total(sw), total(sx), total(sq), total(sqq), total(sxq)};
  }

  template <int kCount, class Code>
  void encode(const float* x, Code* q) const {
    for (int i = 0; i < kCount; i += 4) {
      const Lanes lanes = codes(load_lanes(x + i));
      for (int lane = 0; lane < 4; ++lane) q[i + lane] = Code(lanes[lane]);
    }
  }

 private:
  /// Clips to the ends of the line, then rounds.
  Lanes codes(Lanes x) const {
    Lanes t = x - offset_;
    t = t < bottom_ ? bottom_ : t;
    t = t > top_ ? top_ : t;
    return Grid::nearest(t * inverse_);
  }

  float scale_, inverse_, offset_;
  Lanes bottom_, top_;
};

/// A scale without offset of least error over kCount values, among those that `round` gives: a coarse search of how far
/// the largest value may be clipped, on either side of zero, a fine one around its best, then least squares.
template <class Grid, int kCount, class Round>
float best_scale(const float* x, const float* w, Round round) {
  using Codes = Line<Grid>;
  const float* peak = std::max_element(x, x + kCount, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  float best = 0, least = Codes(0, 0).template error<kCount>(x, w);
  const auto attempt = [&](float wanted) {
    const float scale = round(wanted);
    const float e = Codes(scale, 0).template error<kCount>(x, w);
    if (e >= least) return false;
    best = scale;
    least = e;
    return true;
  };
  for (float clip = 1.0f; clip > 0.2f; clip *= 0.8f) {
    attempt(*peak * clip / float(Grid::kLow));
    attempt(*peak * clip / float(Grid::kHigh));
  }
  // A change of the scale by 1 / (2 kSteps) moves the largest code by half a step: these are half of that.
  const float start = best;
  for (int step = -16; step <= 16; ++step) attempt(start * (1.0f + float(step) / float(4 * Grid::kSteps)));
  for (int i = 0; i < 4; ++i) {
    const Moments m = Codes(best, 0).template moments<kCount>(x, w);
    if (!(m.qq > 0) || !attempt(m.xq / m.qq)) break;
  }
  return best;
}

/// A line of codes 0 to kHigh with scale >= 0, where kBelowZero with offset <= 0, of least error among those that
/// `round` gives: the best of several that clip either end, then least squares.
template <int kHigh, int kCount, bool kBelowZero, class Round>
Affine best_line(const float* x, const float* w, Round round) {
  using Codes = Line<Integers<0, kHigh>>;
  // Fractions of the range that may be cut from an end: for weights that make its extremes unimportant.
  constexpr float kClips[] = {-0.05f, 0.0f, 0.05f, 0.12f, 0.25f, 0.45f};
  const auto within = [](float offset) { return kBelowZero ? std::min(offset, 0.0f) : offset; };
  const auto [lowest, highest] = std::minmax_element(x, x + kCount);
  const float low = within(*lowest), range = *highest - low;
  Affine best = round(Affine{0, low});
  if (!(range > 0)) return best;
  float least = Codes(best.scale, best.offset).template error<kCount>(x, w);
  const auto attempt = [&](Affine wanted) {
    const Affine line = round(wanted);
    const float e = Codes(line.scale, line.offset).template error<kCount>(x, w);
    if (e >= least) return false;
    best = line;
    least = e;
    return true;
  };
  for (const float below : kClips) {
    for (const float above : kClips) {
      const float offset = within(low + below * range);
      attempt({(*highest - above * range - offset) / float(kHigh), offset});
    }
  }
  for (int i = 0; i < 3; ++i) {
    const Moments m = Codes(best.scale, best.offset).template moments<kCount>(x, w);
    const float det = m.w * m.qq - m.q * m.q;
    if (!(det > 0)) break;
    Affine line{(m.w * m.xq - m.x * m.q) / det, (m.qq * m.x - m.q * m.xq) / det};
    if (within(line.offset) != line.offset) line = {m.xq / m.qq, 0};
    if (!(line.scale > 0) || !attempt(line)) break;
  }
  return best;
}

/// Encodes to blocks of one f16 scale `d`, one f16 offset `m` and kValues codes; `pack(block, q)` stores the codes.
template <class F, class Pack>
void encode_lines(const float* values, const float* importance, uint64_t n_blocks, typename F::Block* blocks,
                  Pack pack) {
  constexpr int n = F::kValues, kHigh = (1 << F::kBits) - 1;
  for (uint64_t b = 0; b < n_blocks; ++b) {
    const SearchBlock<n> source(values + n * b, importance ? importance + n * b : nullptr, kHalfMax);
    const auto storable = [&](Affine line) {
      return Affine{source.from_half(source.to_half_outward(line.scale)),
                    source.from_half(source.to_half(line.offset))};
    };
    const Affine line = source.negligible ? Affine{0, 0} : best_line<kHigh, n, false>(source.x, source.w, storable);
    uint8_t q[n];
    Line<Integers<0, kHigh>>(line.scale, line.offset).template encode<n>(source.x, q);
    blocks[b].d = source.to_half(line.scale);
    blocks[b].m = source.to_half(line.offset);
    pack(blocks[b], q);
  }
}

/// Encodes to blocks of one f16 scale `d` and kValues codes; `pack(block, q)` stores the codes.
template <class F, class Grid, class Pack>
void encode_one_scale(const float* values, const float* importance, uint64_t n_blocks, typename F::Block* blocks,
                      Pack pack) {
  constexpr int n = F::kValues;
  for (uint64_t b = 0; b < n_blocks; ++b) {
    const SearchBlock<n> source(values + n * b, importance ? importance + n * b : nullptr,
                                -kHalfMax * float(Grid::kLow));
    const auto storable = [&](float d) { return source.from_half(source.to_half_outward(d)); };
    const float d = source.negligible ? 0.0f : best_scale<Grid, n>(source.x, source.w, storable);
    int8_t q[n];
    Line<Grid>(d, 0).template encode<n>(source.x, q);
    blocks[b].d = source.to_half(d);
    pack(blocks[b], q);
  }
}

}  // namespace mlx_native
