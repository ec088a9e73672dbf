#include "reference/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace mlx_native::reference {

std::vector<double> rope(std::span<const float> x, std::span<const std::uint32_t> positions,
                         std::span<const float> freq_factors, const Rope& p) {
  std::vector<double> y(x.begin(), x.end());
  for (std::size_t t = 0; t < positions.size(); ++t)
    for (std::size_t h = 0; h < p.n_heads; ++h)
      for (std::size_t i = 0; i < p.rope_dim / 2; ++i) {
        const std::size_t head = (t * p.n_heads + h) * p.head_dim;
        const std::size_t a = head + (p.adjacent ? 2 * i : i), b = p.adjacent ? a + 1 : a + p.pair_split;
        const double frequency = std::pow(p.theta, -2.0 * static_cast<double>(i) / static_cast<double>(p.rope_dim)) *
                                 p.freq_scale / (freq_factors.empty() ? 1.0 : double{freq_factors[i]});
        const double angle = positions[t] * frequency, c = std::cos(angle), s = std::sin(angle);
        y[a] = double{x[a]} * c - double{x[b]} * s;
        y[b] = double{x[a]} * s + double{x[b]} * c;
      }
  return y;
}

#if defined(__ARM_FP16_FORMAT_IEEE)
using Half = __fp16;  // g++ 12 has the other name on x86 only
#else
using Half = _Float16;
#endif
std::uint16_t to_half(float value) { return std::bit_cast<std::uint16_t>(static_cast<Half>(value)); }

void kv_cache_write(std::span<const float> x, std::span<const std::uint32_t> positions, std::span<float> cache,
                    std::size_t n_kv_heads, std::size_t capacity, std::size_t head_dim) {
  for (std::size_t t = 0; t < positions.size(); ++t)
    for (std::size_t h = 0; h < n_kv_heads; ++h)
      std::ranges::copy(
          x.subspan((t * n_kv_heads + h) * head_dim, head_dim),
          cache.begin() + static_cast<std::ptrdiff_t>((h * capacity + positions[t] % capacity) * head_dim));
}

std::vector<double> attention(std::span<const float> query, std::span<const float> k, std::span<const float> v,
                              std::span<const std::uint32_t> positions, const Attention& p) {
  std::vector<double> y(query.size());
  const std::int64_t last = positions.back(), capacity = static_cast<std::int64_t>(p.capacity);
  for (std::size_t t = 0; t < positions.size(); ++t)
    for (std::size_t h = 0; h < p.n_heads; ++h) {
      const std::int64_t own = positions[t], end = p.causal ? std::min(own, last) : last;
      std::int64_t begin = std::max<std::int64_t>(0, last - capacity + 1);
      if (p.sliding_window) begin = std::max(begin, own - static_cast<std::int64_t>(p.sliding_window) + 1);
      const float* q = &query[(t * p.n_heads + h) * p.head_dim];
      double* out = &y[(t * p.n_heads + h) * p.head_dim];
      const auto slot = [&](std::int64_t position) {
        return ((h / (p.n_heads / p.n_kv_heads)) * p.capacity + static_cast<std::size_t>(position % capacity)) *
               p.head_dim;
      };
      std::vector<double> scores;
      for (std::int64_t j = begin; j <= end; ++j) {
        double score = 0;
        for (std::size_t i = 0; i < p.head_dim; ++i) score += double{q[i]} * double{k[slot(j) + i]};
        score *= p.scale;
        scores.push_back(p.softcap != 0 ? p.softcap * std::tanh(score / p.softcap) : score);
      }
      if (scores.empty()) continue;
      const double max = *std::ranges::max_element(scores);
      double sum = 0;
      for (double& score : scores) sum += score = std::exp(score - max);
      for (std::int64_t j = begin; j <= end; ++j)
        for (std::size_t i = 0; i < p.head_dim; ++i)
          out[i] += scores[static_cast<std::size_t>(j - begin)] / sum * double{v[slot(j) + i]};
    }
  return y;
}

}  // namespace mlx_native::reference
