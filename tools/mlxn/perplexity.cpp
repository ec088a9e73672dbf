#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "command.h"
#include "interrupt.h"
#include "mlx_native/models/generate.h"
#include "options.h"
#include "output.h"
#include "session.h"

namespace mlxn {

namespace {

using mlx_native::Perplexity;
using mlx_native::PerplexityOptions;
using mlx_native::Tokenizer;

struct Options {
  ModelChoice model;
  DeviceChoice device;
  std::filesystem::path text;
  std::uint32_t chunk = 512;
  bool json = false;
};

int run_perplexity(Options& options) {
  const auto file = open_model(options.model);
  const auto tokenizer = must(Tokenizer::load(file));
  const auto tokens = must(tokenizer.encode_prompt(read_text(options.text), Tokenizer::SpecialTokens::Plain));
  if (tokens.size() < options.chunk)
    throw Failure(fmt::format("{} has {} tokens, and one chunk needs {} (-c)",
                              options.text == "-" ? "standard input" : options.text.string(), tokens.size(),
                              options.chunk));
  options.model.options.context = options.chunk;
  auto model = load_model(options.model, file, options.device.create());

  const Interrupt interrupt;
  std::optional<Failure> failure;
  std::uint32_t chunks_done = 0;
  PerplexityOptions perplexity_options{.chunk = options.chunk};
  if (tokenizer.adds_bos()) perplexity_options.bos = tokenizer.bos();
  // No exception may cross the library, which calls this.
  perplexity_options.on_chunk = [&](std::uint32_t done, std::uint32_t, const Perplexity& so_far) {
    chunks_done = done;
    try {
      if (!options.json) write_output(fmt::format("[{}]{:.4f},", done, so_far.value), true);
    } catch (const Failure& error) {
      failure = error;
    }
    return !failure && !interrupt.requested();
  };
  if (!options.json)
    write_output(fmt::format("{} chunks of {} tokens\n", tokens.size() / options.chunk, options.chunk), true);
  const auto result = must(mlx_native::perplexity(model, tokens, perplexity_options));
  if (failure) throw *failure;
  if (options.json)
    write_json({{"perplexity", result.value},
                {"standard_error", result.standard_error},
                {"scored_tokens", result.scored_tokens},
                {"chunks", chunks_done},
                {"chunk_tokens", options.chunk}});
  else
    write_output(fmt::format("\nFinal estimate: PPL = {:.4f} +/- {:.5f}\n", result.value, result.standard_error));
  return interrupt.requested() ? interrupt.exit_code() : kSuccess;
}

}  // namespace

Command add_perplexity(CLI::App& app) {
  CLI::App& command = add_command(app, "perplexity", "how well a model predicts a text, by llama.cpp's method",
                                  "Ctrl-C ends with the estimate so far and exit code 130.");
  const auto options = std::make_shared<Options>();
  options->model.add_to(command);
  add_text(command, "-f,--file", options->text, "the text; - is stdin", {.type = "FILE", .required = true});
  add_number(command, "-c,--ctx-size", options->chunk, 4, 1u << 20, "tokens of a chunk; its second half is scored");
  options->device.add_to(command);
  add_flag(command, "--json", options->json, "print JSON");
  return {&command, [options] { return run_perplexity(*options); }};
}

}  // namespace mlxn
