#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "mlx_native/models/generate.h"

namespace mlx_native {
namespace {

/// Logits are made for as many tokens at once as fit this.
constexpr std::size_t kLogitBytes = std::size_t{64} << 20;

double negative_log_likelihood(std::span<const float> logits, std::uint32_t token) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) + largest - logits[token];
}

struct Score {
  double sum = 0;
  double sum_of_squares = 0;
  std::uint64_t count = 0;

  void add(double nll) {
    sum += nll;
    sum_of_squares += nll * nll;
    ++count;
  }
  Perplexity perplexity() const {
    const double n = static_cast<double>(count), mean = sum / n;
    const double variance = count > 1 ? std::max(0.0, sum_of_squares / n - mean * mean) / (n - 1) : 0.0;
    return {std::exp(mean), std::exp(mean) * std::sqrt(variance), count};
  }
};

/// `tokens[0]` sees nothing; every token from `first` + 1 on is scored by the logits of the one before it.
Result<void> score_chunk(Model& model, std::span<const std::uint32_t> tokens, std::size_t first, Score& score) {
  model.reset();
  MLXN_TRY(model.forward(tokens.first(first)));
  const std::size_t n_vocab = model.config().n_vocab, last = tokens.size() - 1;
  const std::size_t at_once =
      std::clamp<std::size_t>(kLogitBytes / (n_vocab * sizeof(float)), 1, model.prefill_chunk());
  for (std::size_t begin = first; begin < last; begin += at_once) {
    const std::size_t n = std::min(at_once, last - begin);
    MLXN_ASSIGN(const MlxBuffer buffer, model.forward_all(tokens.subspan(begin, n)));
    MLXN_ASSIGN(const auto logits, buffer.as_slice<float>());
    for (std::size_t i = 0; i < n; ++i) {
      const double nll = negative_log_likelihood(logits.subspan(i * n_vocab, n_vocab), tokens[begin + i + 1]);
      if (!std::isfinite(nll))
        return invalid("perplexity: logits of token {} of a chunk are NaN or infinite", begin + i);
      score.add(nll);
    }
  }
  return {};
}

}  // namespace

Result<Perplexity> perplexity(Model& model, std::span<const std::uint32_t> tokens, const PerplexityOptions& options) {
  const std::uint32_t n = options.chunk, n_vocab = model.config().n_vocab;
  if (n < 4 || n > model.context())
    return invalid("perplexity: chunks of {} tokens; the model's context allows 4 to {}", n, model.context());
  if (options.bos && *options.bos >= n_vocab)
    return invalid("perplexity: bos {} of a vocabulary of {}", *options.bos, n_vocab);
  if (tokens.size() < n) return invalid("perplexity: {} tokens are not one whole chunk of {}", tokens.size(), n);
  for (const std::uint32_t id : tokens)
    if (id >= n_vocab) return invalid("perplexity: token {} of a vocabulary of {}", id, n_vocab);
  const auto chunks = static_cast<std::uint32_t>(tokens.size() / n);
  Score score;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    std::vector<std::uint32_t> chunk(tokens.begin() + std::ptrdiff_t{i} * n,
                                     tokens.begin() + (std::ptrdiff_t{i} + 1) * n);
    if (options.bos) chunk[0] = *options.bos;
    MLXN_TRY(score_chunk(model, chunk, n / 2, score));
    if (options.on_chunk && !options.on_chunk(i + 1, chunks, score.perplexity())) break;
  }
  model.reset();
  return score.perplexity();
}

}  // namespace mlx_native
