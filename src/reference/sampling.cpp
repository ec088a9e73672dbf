#include "reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/random.h"
#include "core/sample_weight.h"

namespace mlx_native::reference {

namespace {

std::vector<std::uint32_t> descending(std::span<const float> x) {
  std::vector<std::uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  return order;
}

std::set<std::uint32_t> seen(std::span<const std::uint32_t> history, std::size_t n_vocab) {
  std::set<std::uint32_t> tokens(history.begin(), history.end());
  tokens.erase(tokens.lower_bound(static_cast<std::uint32_t>(n_vocab)), tokens.end());
  return tokens;
}

}  // namespace

std::optional<std::uint32_t> argmax(std::span<const float> row) {
  if (std::ranges::any_of(row, [](float v) { return std::isnan(v); })) return std::nullopt;
  return static_cast<std::uint32_t>(std::ranges::max_element(row) - row.begin());
}

std::optional<std::uint32_t> sample(std::span<const float> logits, std::span<const std::uint32_t> history,
                                    const Sampling& p, std::uint64_t seed, std::uint64_t step) {
  std::vector<float> x(logits.begin(), logits.end());
  for (const std::uint32_t token : seen(history, x.size()))
    x[token] = penalized(x[token], p.repeat_penalty, 1.0f / p.repeat_penalty);
  if (std::ranges::any_of(x, [](float v) { return std::isnan(v) || v == INFINITY; })) return std::nullopt;
  const float max = *std::ranges::max_element(x);
  if (!std::isfinite(max)) return std::nullopt;
  if (p.temperature == 0) return argmax(x);

  const auto scale = static_cast<float>(std::min(0x1p26 / (std::log(2.0) * double{p.temperature}), 0x1.fffffep127));
  const auto order = descending(x);
  std::vector<std::uint64_t> weight;  // in that order
  for (const std::uint32_t token : order) weight.push_back(sample_weight(x[token], max, scale));
  if (p.top_k != 0 && p.top_k < weight.size()) weight.resize(p.top_k);
  const auto enough = top_p_weight(std::reduce(weight.begin(), weight.end()),
                                   static_cast<std::uint32_t>(std::ceil(double{p.top_p} * kTopPOne)));
  std::size_t kept = 0;
  for (std::uint64_t sum = 0; kept < weight.size() && (kept == 0 || sum < enough); ++kept) sum += weight[kept];
  weight.resize(kept);
  const auto least = static_cast<std::uint32_t>(std::ceil(double{p.min_p} * kSampleWeightOne));
  while (weight.back() < least) weight.pop_back();

  const std::uint64_t drawn =
      scale_bits(random_bits(seed, step), std::reduce(weight.begin(), weight.end(), std::uint64_t{0}));
  std::vector<std::uint64_t> by_index(x.size());
  for (std::size_t i = 0; i < weight.size(); ++i) by_index[order[i]] = weight[i];
  std::uint64_t sum = 0;
  for (std::uint32_t token = 0;; ++token)
    if ((sum += by_index[token]) > drawn) return token;
}

std::vector<double> sample_distribution(std::span<const float> logits, std::span<const std::uint32_t> history,
                                        const Sampling& p) {
  std::vector<float> x(logits.begin(), logits.end());
  for (const std::uint32_t token : seen(history, x.size()))
    x[token] = x[token] > 0 ? x[token] / p.repeat_penalty : x[token] * p.repeat_penalty;
  auto order = descending(x);
  if (p.top_k != 0 && p.top_k < order.size()) order.resize(p.top_k);
  std::vector<double> probability(x.size());
  const auto normalize = [&] {
    double sum = 0;
    for (const std::uint32_t token : order) sum += probability[token];
    for (const std::uint32_t token : order) probability[token] /= sum;
  };
  for (const std::uint32_t token : order)
    probability[token] = std::exp((double{x[token]} - double{x[order[0]]}) / double{p.temperature});
  normalize();
  const double largest = probability[order[0]];
  double sum = 0;
  std::size_t kept = 0;
  while (kept < order.size() && (kept == 0 || sum < double{p.top_p})) sum += probability[order[kept++]];
  while (kept > 1 && probability[order[kept - 1]] < double{p.min_p} * largest) --kept;
  for (std::size_t i = kept; i < order.size(); ++i) probability[order[i]] = 0;
  order.resize(kept);
  normalize();
  return probability;
}

}  // namespace mlx_native::reference
