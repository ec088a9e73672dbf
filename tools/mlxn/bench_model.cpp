#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "bench.h"
#include "command.h"
#include "inspect.h"
#include "output.h"
#include "recipe.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::GgufFile;
using mlx_native::MlxDevice;
using mlx_native::Model;

struct ModelFacts {
  std::string title;  ///< "qwen3 16.26 M q4_k_m"
  std::uint64_t bytes = 0, parameters;

  explicit ModelFacts(const GgufFile& file) : parameters(value_count(file)) {
    for (const auto& tensor : file.tensors()) bytes += tensor.byte_len;
    title = fmt::format("{} {} {}", file.metadata_string("general.architecture").value_or("?"), count_text(parameters),
                        file_type_name(file.metadata_u32("general.file_type")));
  }
};

/// Tokens per second of every repetition.
std::vector<double> measure(Model& model, const Test& test, std::uint32_t repetitions) {
  run_test(model, test);  // to warm up
  std::vector<double> rates;
  for (std::uint32_t i = 0; i < repetitions; ++i) rates.push_back(test.tokens() / run_test(model, test));
  return rates;
}

Json json_of(const BenchOptions& options, const ModelFacts& facts, const MlxDevice& device, const Test& test,
             const std::vector<double>& rates) {
  const auto result = statistics(rates);
  return {{"model_filename", options.model.path.string()},
          {"model_type", facts.title},
          {"model_size", facts.bytes},
          {"model_n_params", facts.parameters},
          {"backend", mlx_native::backend_name(device.backend())},
          {"device", device.name()},
          {"threads", device.parallelism()},
          {"type_kv", options.model.kv},
          {"precision", precision_name(options.model.options.precision)},
          {"test", test.name()},
          {"n_prompt", test.prompt},
          {"n_gen", test.generate},
          {"n_depth", test.depth},
          {"avg_ts", result.mean},
          {"stddev_ts", result.deviation},
          {"samples_ts", rates}};
}

}  // namespace

std::string Test::name() const {
  return (prompt ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generate)) +
         (depth ? fmt::format(" @ d{}", depth) : "");
}

std::vector<Test> tests_of(const BenchOptions& options) {
  std::vector<Test> tests;
  for (const std::uint32_t depth : options.depths) {
    for (const std::uint32_t prompt : options.prompts)
      if (prompt) tests.push_back({prompt, 0, depth});
    for (const std::uint32_t generate : options.generations)
      if (generate) tests.push_back({0, generate, depth});
  }
  if (tests.empty()) throw Misuse("nothing to measure: -p and -n are 0");
  return tests;
}

ModelChoice model_for(const BenchOptions& options, const std::vector<Test>& tests) {
  ModelChoice choice = options.model;
  for (const auto& test : tests) choice.options.context = std::max(choice.options.context, test.depth + test.tokens());
  return choice;
}

double run_test(Model& model, const Test& test) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::uint32_t> any(0, model.config().n_vocab - 1);
  const auto tokens_of = [&](std::uint32_t count) {
    std::vector<std::uint32_t> tokens(count);
    std::generate(tokens.begin(), tokens.end(), [&] { return any(random); });
    return tokens;
  };
  if (model.position() < test.depth) must(model.forward(tokens_of(test.depth - model.position())));
  must(model.rewind(test.depth));
  const auto tokens = tokens_of(test.tokens());
  const auto start = std::chrono::steady_clock::now();
  if (test.prompt) must(model.forward(tokens));
  for (std::uint32_t i = 0; i < test.generate; ++i) {
    must(model.next_token().as_mut_slice<std::uint32_t>())[0] = tokens[i];
    must(model.forward_next());
  }
  must(model.wait());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void bench_model(const BenchOptions& options) {
  const auto tests = tests_of(options);
  const auto file = open_model(options.model);
  const ModelFacts facts(file);
  const auto choice = model_for(options, tests);

  Json list = Json::array();
  Table table{{false, true, true, false, true, true, true},
              {{"model", "size", "params", "backend", "threads", "test", "t/s"}}};
  std::string memory;
  Progress progress(options.threads.size() * tests.size());
  for (const std::uint32_t threads : options.threads) {
    auto model = load_model(choice, file, DeviceChoice{threads, options.device.backend}.create());
    for (const auto& test : tests) {
      progress.show(table.rows.size() - 1, test.name());
      const auto rates = measure(model, test, options.repetitions);
      const auto result = statistics(rates);
      list.push_back(json_of(options, facts, model.device(), test, rates));
      list.back()["memory"] = memory_json(file, model.memory());
      memory = memory_text(file, model.memory());
      table.rows.push_back({printable_line(facts.title), bytes_text(facts.bytes), count_text(facts.parameters),
                            std::string(mlx_native::backend_name(model.device().backend())),
                            fmt::format("{}", model.device().parallelism()), test.name(),
                            fmt::format("{:.2f} \u00b1 {:.2f}", result.mean, result.deviation)});
    }
  }
  options.json ? write_json(list) : write_output(table.markdown() + "\n" + memory + "\n");
}

}  // namespace mlxn
