#include "mlx_native/models/generate.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace mlx_native {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Chooses the next token from logits, on the device.
class Sampler {
 public:
  static Result<Sampler> create(const Model& model, std::span<const std::uint32_t> prompt,
                                const GenerateOptions& options) {
    const MlxDevice& device = model.device();
    SampleParams params = options.sampling;
    params.n_vocab = model.config().n_vocab;
    params.step = 0;
    MLXN_TRY(check_sample_params(params));
    const std::size_t window = std::clamp(options.penalty_window, 1u, model.context());  // which holds no more tokens
    MLXN_ASSIGN(MlxBuffer history, device.alloc_buffer(window * sizeof(std::uint32_t), DType::U32, {window}));
    Sampler sampler(model, std::move(history), params);
    if (params.repeat_penalty != 1.0f && options.penalty_window > 0)
      for (const std::uint32_t id : prompt.last(std::min(prompt.size(), window))) MLXN_TRY(sampler.remember(id));
    return sampler;
  }

  /// Whether the choice depends on ids that the host has to see first.
  bool needs_history() const { return params_.n_history != 0; }

  /// Starts choosing, to model.next_token().
  Result<void> start(const MlxBuffer& logits) {
    MLXN_ASSIGN(CommandEncoder encoder, model_.device().command_encoder());
    if (params_.temperature == 0 && params_.repeat_penalty == 1.0f) {
      MLXN_TRY(
          argmax(encoder, model_.registry(), model_.device(), logits, token_, {.rows = 1, .cols = params_.n_vocab}));
    } else {
      MLXN_TRY(sample(encoder, model_.registry(), model_.device(), logits, params_.n_history ? &history_ : nullptr,
                      token_, params_));
    }
    MLXN_TRY(encoder.commit());
    under_way_.emplace(std::move(encoder));
    return {};
  }

  Result<std::uint32_t> finish() {
    MLXN_TRY(under_way_->wait());
    MLXN_ASSIGN(const auto ids, token_.as_slice<std::uint32_t>());
    const std::uint32_t id = ids[0];
    ++params_.step;
    if (params_.n_history) MLXN_TRY(remember(id));
    return id;
  }

 private:
  Sampler(const Model& model, MlxBuffer history, SampleParams params)
      : model_(model), token_(model.next_token()), history_(std::move(history)), params_(params) {
    params_.n_history = 0;
  }

  /// The order of the history does not matter: it is a ring.
  Result<void> remember(std::uint32_t id) {
    MLXN_ASSIGN(const auto window, history_.as_mut_slice<std::uint32_t>());
    window[remembered_++ % window.size()] = id;
    params_.n_history = static_cast<std::uint32_t>(std::min(remembered_, window.size()));
    return {};
  }

  const Model& model_;
  MlxBuffer token_, history_;
  SampleParams params_;
  std::size_t remembered_ = 0;
  std::optional<CommandEncoder> under_way_;
};

/// Token after token. Where the device works by itself and the choice of a token is all that the next step needs, that
/// step starts before the host knows the token; the step behind the last token is forgotten.
Result<StopReason> continue_from(Model& model, Sampler& sampler, MlxBuffer logits, const GenerateOptions& options,
                                 std::vector<std::uint32_t>& tokens) {
  const bool goes_ahead = model.device().backend() != Backend::Cpu && !sampler.needs_history();
  const auto cancelled = [&] { return options.keep_going && !options.keep_going(); };
  while (tokens.size() < options.max_tokens) {
    if (cancelled()) return StopReason::Cancelled;
    MLXN_TRY(sampler.start(logits));
    const bool ahead = goes_ahead && tokens.size() + 1 < options.max_tokens && model.position() < model.context();
    if (ahead) {
      MLXN_ASSIGN(logits, model.forward_next());
    }
    const auto forget_step = [&]() -> Result<void> {
      if (!ahead) return {};
      MLXN_TRY(model.wait());
      return model.rewind(model.position() - 1);
    };
    const auto id = sampler.finish();
    if (!id) {
      MLXN_TRY(forget_step());
      return tl::unexpected(id.error());
    }
    if (std::ranges::count(options.stop_tokens, *id)) {
      MLXN_TRY(forget_step());
      return StopReason::StopToken;
    }
    tokens.push_back(*id);
    if (options.on_token && !options.on_token(*id)) {
      MLXN_TRY(forget_step());
      return StopReason::Cancelled;
    }
    if (tokens.size() == options.max_tokens) break;
    if (ahead) continue;
    if (model.position() == model.context()) return StopReason::ContextFull;
    MLXN_ASSIGN(logits, model.forward({&*id, 1}));
  }
  return StopReason::MaxTokens;
}

}  // namespace

Result<Generation> generate(Model& model, std::span<const std::uint32_t> prompt, const GenerateOptions& options) {
  if (prompt.empty()) return invalid("generate: the prompt has no tokens");
  if (prompt.size() > model.context() - model.position())
    return invalid("generate: a prompt of {} tokens does not fit a context of {} that holds {} already", prompt.size(),
                   model.context(), model.position());
  for (const std::uint32_t id : prompt)
    if (id >= model.config().n_vocab)
      return invalid("generate: token {} of a vocabulary of {}", id, model.config().n_vocab);
  const auto cancelled = [&] { return options.keep_going && !options.keep_going(); };
  MLXN_ASSIGN(Sampler sampler, Sampler::create(model, prompt, options));
  Generation result;

  const Stopwatch prompt_time;
  std::optional<MlxBuffer> logits;
  for (std::size_t done = 0; done < prompt.size();) {
    if (cancelled()) {
      result.stop = StopReason::Cancelled;
      return result;
    }
    const auto chunk = prompt.subspan(done, std::min<std::size_t>(model.prefill_chunk(), prompt.size() - done));
    MLXN_ASSIGN(logits, model.forward(chunk));
    done += chunk.size();
  }
  result.timings.prompt_tokens = static_cast<std::uint32_t>(prompt.size());
  result.timings.prompt_seconds = prompt_time.seconds();
  if (options.keep_prompt_logits) {
    MLXN_ASSIGN(const auto values, logits->as_slice<float>());
    result.prompt_logits.assign(values.begin(), values.end());
  }

  const Stopwatch generation_time;
  auto stop = continue_from(model, sampler, *logits, options, result.tokens);
  if (auto waited = model.wait(); !waited) return tl::unexpected(waited.error());
  if (!stop) return tl::unexpected(stop.error());
  result.stop = *stop;
  result.timings.generated_tokens = static_cast<std::uint32_t>(result.tokens.size());
  result.timings.generation_seconds = generation_time.seconds();
  return result;
}

}  // namespace mlx_native
