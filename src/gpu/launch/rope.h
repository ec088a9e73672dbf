#pragma once

#include <cmath>

#include "gpu/kernels/heads_to_cache.h"
#include "gpu/kernels/rope.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

struct RopeKernel {
  using Args = RopeProblem;
  K_STATIC int kThreads = RopeShape::kThreads, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    rope(t, a, scratch);
  }
};

struct Rope {
  using Args = RopeArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    on.template run<RopeKernel>(group_count(a.n_tokens * tiles(a.n_heads, RopeShape::kHeads)), problem(a));
  }

  /// |log2(theta)| * 2 / rope_dim, by long division.
  static RopeProblem problem(const Args& a) {
    int exponent = 0;
    const double mantissa = std::frexp(static_cast<double>(a.theta), &exponent);
    const bool rising = a.theta < 1;
    std::uint64_t fraction = log2_fraction(static_cast<std::uint64_t>(mantissa * 0x1p64));
    std::uint64_t whole = static_cast<std::uint64_t>(rising ? 1 - exponent : exponent - 1);
    if (rising && fraction != 0) {
      whole -= 1;
      fraction = 0 - fraction;
    }
    const std::uint64_t dim = a.rope_dim, twice = 2 * whole + (fraction >> 63);
    fraction <<= 1;
    const std::uint64_t high = (twice % dim << 32) + (fraction >> 32), low = (high % dim << 32) + (fraction & kLow);
    return {a, (high / dim << 32) + low / dim, static_cast<std::uint32_t>(twice / dim), rising};
  }

 private:
  static constexpr std::uint64_t kLow = 0xffffffffu;

  /// log2(x) in 2^-64, for x in [1, 2) in 2^-63. A square has twice the logarithm, whose integer bit is the next bit of
  /// the result; what squares lose is halved with each one before them, which leaves 60 bits.
  static std::uint64_t log2_fraction(std::uint64_t x) {
    std::uint64_t log = 0;
    for (int bit = 63; bit >= 0; --bit) {
      const std::uint64_t high = x >> 32, low = x & kLow;
      x = high * high + (high * low >> 31);
      if (x >> 63)
        log |= std::uint64_t{1} << bit;
      else
        x <<= 1;
    }
    return log;
  }
};

inline HeadsProblem heads_problem(const HeadsToCacheArgs& a, std::uint32_t parts) {
  const RopeArgs rope{.input = a.query,
                      .positions = a.positions,
                      .freq_factors = a.freq_factors,
                      .output = a.query,
                      .n_tokens = a.n_tokens,
                      .n_heads = a.n_heads,
                      .head_dim = a.head_dim,
                      .rope_dim = a.rope_dim,
                      .adjacent = a.adjacent,
                      .pair_split = a.pair_split,
                      .theta = a.theta,
                      .freq_scale = a.freq_scale};
  return {a, Rope::problem(rope), parts};
}
/// Whether a command before writes what heads_angles() reads.
bool rotates_by_new(const HeadsProblem& p, const auto& is_new) {
  return is_new(p.heads.positions) || (p.heads.freq_factors && is_new(p.heads.freq_factors));
}

}  // namespace mlx_native::gpu
