#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "mlx_native/error.h"
#include "mlx_native/models/model.h"
#include "mlx_native/ops/sampling.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// Callbacks must not throw.
struct GenerateOptions {
  std::uint32_t max_tokens = 128;
  /// n_vocab, n_history and step are set by generate(). Temperature 0 without a penalty is greedy: the largest logit,
  /// of equals the lowest id.
  SampleParams sampling{.n_vocab = 0, .temperature = 0.0f};
  std::uint32_t penalty_window = 64;  ///< last tokens, the prompt's included, that the repeat penalty looks at
  std::vector<std::uint32_t> stop_tokens = {};       ///< they end the text and do not belong to it
  bool keep_prompt_logits = false;                   ///< return the logits of the last prompt token
  std::function<bool(std::uint32_t)> on_token = {};  ///< sees every token as it comes; false cancels, the token stays
  std::function<bool()> keep_going = {};  ///< asked before every chunk of the prompt and every token; false cancels
};

enum class StopReason {
  MaxTokens,
  StopToken,
  ContextFull,  ///< the KV cache has no room for another token
  Cancelled,
};

struct Timings {
  std::uint32_t prompt_tokens = 0;
  double prompt_seconds = 0;  ///< until the logits of the last prompt token
  std::uint32_t generated_tokens = 0;
  double generation_seconds = 0;  ///< sampling included

  double prompt_tokens_per_second() const { return prompt_seconds > 0 ? prompt_tokens / prompt_seconds : 0; }
  double tokens_per_second() const { return generation_seconds > 0 ? generated_tokens / generation_seconds : 0; }
};

struct Generation {
  std::vector<std::uint32_t> tokens;  ///< without the prompt and without the stop token
  StopReason stop = StopReason::MaxTokens;
  std::vector<float> prompt_logits;
  Timings timings;
};

/// Appends `prompt` to the model's sequence and continues with tokens of its own. The last of these may not be in the
/// sequence yet: to continue with another call, begin its prompt with the tokens that Model::position() does not count.
/// InvalidArgument, before anything has run, for an empty prompt, ids out of range, a prompt that does not fit the rest
/// of the context, and sampling parameters that check_sample_params refuses; errors as Model::forward.
Result<Generation> generate(Model& model, std::span<const std::uint32_t> prompt, const GenerateOptions& options = {});

struct Perplexity {
  double value = 0;           ///< exp of the mean negative log-likelihood
  double standard_error = 0;  ///< of value
  std::uint64_t scored_tokens = 0;
};

/// The callback must not throw.
struct PerplexityOptions {
  std::uint32_t chunk = 512;  ///< tokens that see each other: from 4 to the model's context
  /// Replaces each chunk's first token, as llama.cpp does for models that want bos.
  std::optional<std::uint32_t> bos = {};
  /// Is given the result so far after every chunk; returning false ends with it.
  std::function<bool(std::uint32_t done, std::uint32_t chunks, const Perplexity& so_far)> on_chunk = {};
};

/// Perplexity of `tokens` by llama.cpp's method: chunks are independent, and in each the tokens of the second half are
/// scored, which have at least half a chunk of context. Tokens behind the last whole chunk are left out. The model's
/// sequence is reset. InvalidArgument for a chunk length out of range, fewer tokens than one chunk, ids out of range,
/// and logits that are NaN or infinite.
Result<Perplexity> perplexity(Model& model, std::span<const std::uint32_t> tokens,
                              const PerplexityOptions& options = {});

}  // namespace mlx_native
