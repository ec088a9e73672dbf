#include "reference/moe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mlx_native::reference {

Routing moe_softmax_topk(std::span<const float> logits, std::size_t n_experts, std::size_t top_k, bool renormalize) {
  Routing routing;
  for (std::size_t row = 0; row < logits.size(); row += n_experts) {
    const auto x = logits.subspan(row, n_experts);
    const bool bad = std::ranges::any_of(x, [](float v) { return std::isnan(v) || v == INFINITY; }) ||
                     std::ranges::none_of(x, [](float v) { return std::isfinite(v); });
    if (bad) {
      routing.ids.insert(routing.ids.end(), top_k, UINT32_MAX);
      routing.weights.insert(routing.weights.end(), top_k, std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    std::vector<std::uint32_t> order(n_experts);
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
    const std::size_t summed = renormalize ? top_k : n_experts;
    double sum = 0;
    for (std::size_t s = 0; s < summed; ++s) sum += std::exp(double{x[order[s]]} - double{x[order[0]]});
    for (std::size_t s = 0; s < top_k; ++s) {
      routing.ids.push_back(order[s]);
      routing.weights.push_back(std::exp(double{x[order[s]]} - double{x[order[0]]}) / sum);
    }
  }
  return routing;
}

std::vector<double> moe_weighted_reduce(std::span<const float> experts, std::span<const float> weights,
                                        std::size_t top_k, std::size_t dim) {
  std::vector<double> y(weights.size() / top_k * dim);
  for (std::size_t row = 0; row < weights.size(); ++row)
    for (std::size_t i = 0; i < dim; ++i)
      y[row / top_k * dim + i] += double{weights[row]} * double{experts[row * dim + i]};
  return y;
}

}  // namespace mlx_native::reference
