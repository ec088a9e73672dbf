// Writes text with a model of a GGUF file.
//
//   generate MODEL.gguf PROMPT
#include <mlx_native/mlx_native.h>

#include <cstdio>

#include "check.h"

using namespace mlx_native;

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: generate MODEL.gguf PROMPT\n", stderr), 2;

  const GgufFile file = check(GgufFile::open(argv[1]));
  const Tokenizer tokenizer = check(Tokenizer::load(file));
  Model model = check(Model::load(file, check(MlxDevice::create()), KernelRegistry()));

  TextStream text(tokenizer);
  GenerateOptions options{.max_tokens = 64};
  options.stop_tokens.assign(tokenizer.end_tokens().begin(), tokenizer.end_tokens().end());
  options.on_token = [&](std::uint32_t token) {
    std::fputs(text.push(token).c_str(), stdout);
    return std::fflush(stdout) == 0;
  };

  std::fputs(argv[2], stdout);
  const Generation made = check(generate(model, check(tokenizer.encode_prompt(argv[2])), options));
  std::puts(text.finish().c_str());
  std::fprintf(stderr, "%.1f tokens/s\n", made.timings.tokens_per_second());
}
