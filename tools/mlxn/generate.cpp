#include "mlx_native/models/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>

#include "command.h"
#include "interrupt.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::GenerateOptions;
using mlx_native::Generation;
using mlx_native::Model;
using mlx_native::StopReason;
using mlx_native::TextStream;
using mlx_native::Tokenizer;

struct Options {
  ModelChoice model;
  DeviceChoice device;
  std::optional<std::string> prompt;
  std::optional<std::filesystem::path> prompt_file;
  std::vector<std::uint32_t> prompt_tokens;
  std::int64_t max_tokens = -1;
  mlx_native::SampleParams sampling{
      .n_vocab = 0, .repeat_penalty = 1.0f, .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  std::int64_t penalty_window = GenerateOptions{}.penalty_window;
  std::int64_t seed = -1;
  bool ignore_eos = false;
  bool hide_prompt = false;
  bool json = false;
  bool logits = false;
};

const char* stop_text(StopReason reason) {
  switch (reason) {
    case StopReason::MaxTokens: return "limit of -n";
    case StopReason::StopToken: return "end of text";
    case StopReason::ContextFull: return "context is full";
    case StopReason::Cancelled: return "interrupted";
  }
  return "";
}

const char* stop_name(StopReason reason) {
  switch (reason) {
    case StopReason::MaxTokens: return "max_tokens";
    case StopReason::StopToken: return "stop_token";
    case StopReason::ContextFull: return "context_full";
    case StopReason::Cancelled: return "cancelled";
  }
  return "";
}

struct Prompt {
  std::vector<std::uint32_t> tokens;
  std::string text;  ///< as it was given: what the tokenizer puts before it is not shown
};

Prompt prompt_of(const Options& options, const Tokenizer& tokenizer) {
  if (!options.prompt_tokens.empty()) return {options.prompt_tokens, must(tokenizer.decode(options.prompt_tokens))};
  std::string text = options.prompt ? *options.prompt : read_text(*options.prompt_file);
  auto tokens = must(tokenizer.encode_prompt(text));
  if (tokens.empty()) throw Failure("the prompt is empty");
  return {std::move(tokens), std::move(text)};
}

/// Writes text as it is generated, harmless where a terminal shows it.
class Writer {
 public:
  /// `prefix` stands before all else.
  Writer(bool enabled, std::string prefix)
      : enabled_(enabled), terminal_(output_is_terminal()), pending_(std::move(prefix)) {}

  void write(std::string_view text) {
    if (!enabled_) return;
    pending_ += text;
    if (!pending_.empty()) ends_line_ = pending_.back() == '\n';
    write_output(terminal_ ? printable(pending_) : pending_, true);
    pending_.clear();
  }
  void end_line() {
    if (!ends_line_) write("\n");
  }

 private:
  bool enabled_, terminal_;
  std::string pending_;
  bool ends_line_ = true;
};

using Clock = std::chrono::steady_clock;

struct Run {
  Generation generation;
  std::string text;
  std::optional<Clock::time_point> first_token;
};

/// Seconds since the command began.
struct Waits {
  double load;
  std::optional<double> first_token;  ///< none where the text ended at once
};

Run generate(Model& model, const Tokenizer& tokenizer, const Prompt& prompt, const Options& options,
             const Interrupt& interrupt) {
  GenerateOptions generate_options;
  generate_options.max_tokens = options.max_tokens < 0 ? UINT32_MAX : static_cast<std::uint32_t>(options.max_tokens);
  generate_options.sampling = options.sampling;
  generate_options.penalty_window =
      options.penalty_window < 0 ? UINT32_MAX : static_cast<std::uint32_t>(options.penalty_window);
  if (!options.ignore_eos)
    generate_options.stop_tokens.assign(tokenizer.end_tokens().begin(), tokenizer.end_tokens().end());
  generate_options.keep_prompt_logits = options.logits;

  Run run;
  Writer writer(!options.json, options.hide_prompt ? "" : prompt.text);
  TextStream stream(tokenizer);
  const auto add = [&](const std::string& text) {
    run.text += text;
    writer.write(text);
  };
  // No exception may cross the library, which calls this.
  std::optional<Failure> failure;
  generate_options.on_token = [&](std::uint32_t token) {
    if (!run.first_token) run.first_token = Clock::now();
    try {
      add(stream.push(token));
    } catch (const Failure& error) {
      failure = error;
    }
    return !failure;
  };
  generate_options.keep_going = [&] { return !interrupt.requested(); };
  run.generation = must(mlx_native::generate(model, prompt.tokens, generate_options));
  if (failure) throw *failure;
  add(stream.finish());
  writer.end_line();
  return run;
}

Json json_of(const Run& run, const std::vector<std::uint32_t>& prompt, const Waits& waits, const Options& options) {
  const auto& timings = run.generation.timings;
  Json result = {{"prompt_tokens", prompt},
                 {"tokens", run.generation.tokens},
                 {"text", run.text},
                 {"stop", stop_name(run.generation.stop)},
                 {"seed", options.sampling.seed},
                 {"timings",
                  {{"load_ms", 1e3 * waits.load},
                   {"prompt_ms", 1e3 * timings.prompt_seconds},
                   {"prompt_tokens_per_second", timings.prompt_tokens_per_second()},
                   {"generation_ms", 1e3 * timings.generation_seconds},
                   {"tokens_per_second", timings.tokens_per_second()}}}};
  if (waits.first_token) result["timings"]["first_token_ms"] = 1e3 * *waits.first_token;
  if (options.logits) result["logits"] = run.generation.prompt_logits;
  return result;
}

void report(const mlx_native::GgufFile& file, const Model& model, const Generation& generation, const Waits& waits,
            const Options& options) {
  const auto& timings = generation.timings;
  write_error(
      fmt::format("prompt     {:6} tokens {:10.2f} ms {:9.2f} t/s\n"
                  "generated  {:6} tokens {:10.2f} ms {:9.2f} t/s ({})\n"
                  "{}; loaded in {:.1f} ms; {}seed {}\n{}\n",
                  timings.prompt_tokens, 1e3 * timings.prompt_seconds, timings.prompt_tokens_per_second(),
                  timings.generated_tokens, 1e3 * timings.generation_seconds, timings.tokens_per_second(),
                  stop_text(generation.stop), printable_line(model.device().name()), 1e3 * waits.load,
                  waits.first_token ? fmt::format("first token after {:.1f} ms; ", 1e3 * *waits.first_token) : "",
                  options.sampling.seed, memory_text(file, model.memory())));
}

int run_generate(Options& options) {
  if (options.prompt.has_value() + options.prompt_file.has_value() + !options.prompt_tokens.empty() != 1)
    throw Misuse("give the prompt by one of -p, -f and --tokens");
  if (options.logits && !options.json) throw Misuse("--logits needs --json");
  options.sampling.seed = options.seed < 0 ? std::random_device()() : static_cast<std::uint64_t>(options.seed);

  const auto start = Clock::now();
  const auto since_start = [&](Clock::time_point time) { return std::chrono::duration<double>(time - start).count(); };
  const auto file = open_model(options.model);
  const auto tokenizer = must(Tokenizer::load(file));
  const auto prompt = prompt_of(options, tokenizer);
  // What -n does not need is not paid for: a few tokens already touch most large pages of a cache.
  if (auto& context = options.model.options.context; context == 0 && options.max_tokens >= 0) {
    constexpr std::uint64_t kStep = 256;
    const auto needed = prompt.tokens.size() + static_cast<std::uint64_t>(options.max_tokens);
    context = static_cast<std::uint32_t>(
        std::min({(needed + kStep - 1) / kStep * kStep, std::uint64_t{mlx_native::kDefaultContext},
                  std::uint64_t{must(mlx_native::read_model_config(file)).context_length}}));
  }
  auto model = load_model(options.model, file, options.device.create());
  if (prompt.tokens.size() > model.context())
    throw Failure(fmt::format("the prompt has {} tokens, and the context holds {} (-c, at most {} for this model)",
                              prompt.tokens.size(), model.context(), model.config().context_length));
  Waits waits{since_start(Clock::now()), std::nullopt};

  const Interrupt interrupt;
  const Run run = generate(model, tokenizer, prompt, options, interrupt);
  if (run.first_token) waits.first_token = since_start(*run.first_token);
  if (options.json) {
    Json json = json_of(run, prompt.tokens, waits, options);
    json["memory"] = memory_json(file, model.memory());
    write_json(json);
  }
  flush_output();
  report(file, model, run.generation, waits, options);
  return run.generation.stop == StopReason::Cancelled ? interrupt.exit_code() : kSuccess;
}

}  // namespace

Command add_generate(CLI::App& app) {
  CLI::App& command = add_command(
      app, "generate", "continue a prompt with a model",
      "Text goes to stdout as it comes, timings and memory to stderr at the end. Ctrl-C ends generation: what there "
      "is is printed as usual, and the exit code is 130.");
  const auto options = std::make_shared<Options>();
  auto& sampling = options->sampling;
  options->model.add_to(command);
  add_text(command, "-p,--prompt", options->prompt, "text to continue");
  add_text(command, "-f,--file", options->prompt_file, "file with the text to continue; - is stdin", {.type = "FILE"});
  add_numbers(command, "--tokens", options->prompt_tokens, 0, UINT32_MAX, "token ids to continue, instead of text");
  add_number(command, "-n,--n-predict,--predict", options->max_tokens, -1, UINT32_MAX - 1,
             "tokens to generate at most; -1: until the text ends or the context is full");
  add_number(command, "-c,--ctx-size", options->model.options.context, 0, UINT32_MAX,
             "tokens of prompt and text together; 0: what -n needs, at most 4096 and what the model was trained for");
  options->device.add_to(command);
  add_number(command, "--temp", sampling.temperature, 0, 100,
             "temperature, before top-p and min-p look; 0: always the likeliest token");
  add_number(command, "--top-k", sampling.top_k, 0, INT32_MAX, "draw from the K likeliest tokens; 0: from all");
  add_number(command, "--top-p", sampling.top_p, 1e-6f, 1, "draw from the fewest tokens that reach this probability");
  add_number(command, "--min-p", sampling.min_p, 0, 1,
             "draw from tokens of at least this fraction of the likeliest one's probability");
  add_number(command, "--repeat-penalty", sampling.repeat_penalty, 0.01f, 100,
             "divides the scores of the last tokens; 1: off");
  add_number(command, "--repeat-last-n", options->penalty_window, -1, UINT32_MAX,
             "how many of them, the prompt's included; 0: off, -1: all");
  add_number(command, "-s,--seed", options->seed, -1, INT64_MAX, "seed of the draws; -1: another one each time");
  add_flag(command, "--ignore-eos", options->ignore_eos, "go on behind the end of text");
  add_flag(command, "--no-display-prompt", options->hide_prompt, "print what is generated alone");
  add_flag(command, "--json", options->json,
           "print one object: prompt_tokens, tokens, text, stop, seed, timings, memory");
  add_flag(command, "--logits", options->logits, "add the logits of the last prompt token to the object");
  return {&command, [options] { return run_generate(*options); }};
}

}  // namespace mlxn
