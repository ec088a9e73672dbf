#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <tuple>

#include "command.h"
#include "interrupt.h"
#include "options.h"
#include "output.h"
#include "preset.h"
#include "random_blocks.h"
#include "recipe.h"
#include "synthetic_vocabulary.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::GgmlType;
using mlx_native::GgufWriter;
using mlx_native::MetadataValue;
using mlx_native::TensorInfo;

struct Options {
  std::string architecture, preset, type = "q4_k_m";
  std::uint32_t layers = 0;
  std::uint64_t seed = 1;
  std::uint32_t threads = 0;
  std::filesystem::path out;
};

Preset preset_of(const Options& options) {
  std::vector<std::string> known;
  for (const Preset& preset : presets()) {
    known.push_back(fmt::format("{} {}", preset.architecture, preset.name));
    if (preset.architecture != options.architecture || preset.name != options.preset) continue;
    Preset chosen = preset;
    if (options.layers > preset.layers)
      throw Misuse(
          fmt::format("--layers needs at most the {} of {}, not {}", preset.layers, known.back(), options.layers));
    if (options.layers) chosen.layers = options.layers;
    return chosen;
  }
  throw Misuse(fmt::format("there is no {} {}; --arch and --preset can be {}", options.architecture, options.preset,
                           fmt::join(known, ", ")));
}

void write_metadata(GgufWriter& writer, const Preset& preset, const Recipe& recipe) {
  const auto add = [&](std::string key, auto value) {
    must(writer.add_metadata(std::move(key), MetadataValue{MetadataValue::Scalar(std::move(value))}));
  };
  add("general.architecture", std::string(preset.architecture));
  add("general.type", std::string("model"));
  add("general.name", fmt::format("{}, random weights, {} layers", preset.title, preset.layers));
  add("general.file_type", recipe.file_type);
  add("general.quantization_version", kQuantizationVersion);
  for (auto& [key, value] : shape_metadata(preset)) must(writer.add_metadata(key, value));
  for (auto& [key, value] : synthetic_vocabulary(preset.vocabulary, preset.words))
    must(writer.add_metadata(key, std::move(value)));
}

/// Keep activations near one: a norm is about one, and a matrix of rows of k values keeps the variance of its input.
class Weights {
 public:
  Weights(std::uint64_t seed, std::uint32_t threads) : threads_(threads), random_(seed) {}

  void fill(const TensorInfo& tensor, GgmlType type, std::span<std::uint8_t> blocks) {
    const bool norm = tensor.shape.size() == 1;
    const float mean = norm ? 1.0f : 0.0f;
    const float deviation = norm ? 0.1f : 1.0f / std::sqrt(static_cast<float>(tensor.shape.back()));
    const auto [found, added] = pools_.try_emplace(std::tuple(type, mean, deviation), nullptr);
    if (added) found->second = std::make_unique<RandomBlocks>(type, mean, deviation, random_(), threads_);
    found->second->fill(blocks, random_);
  }

 private:
  std::uint32_t threads_;
  std::mt19937_64 random_;
  std::map<std::tuple<GgmlType, float, float>, std::unique_ptr<RandomBlocks>> pools_;
};

std::uint64_t bytes_of(const PlannedTensor& tensor) {
  const auto layout = *mlx_native::ggml_layout(tensor.type);
  std::uint64_t values = 1;
  for (const std::size_t extent : tensor.source->shape) values *= extent;
  return values / layout.block_values * layout.block_bytes;
}

int synth(const Options& options) {
  const Preset preset = preset_of(options);
  const auto recipe = find_recipe(options.type);
  if (!recipe)
    throw Misuse(fmt::format("--type needs one of {}, not \"{}\"", fmt::join(recipe_names(), ", "), options.type));
  const auto shapes = tensors_of(preset);
  const auto tensors = plan({std::string(preset.architecture), preset.layers, preset.experts, shapes}, *recipe);

  const auto start = std::chrono::steady_clock::now();
  const Interrupt interrupt;
  auto writer = must(GgufWriter::create(options.out));
  write_metadata(writer, preset, *recipe);
  std::uint64_t total = 0, done = 0, parameters = 0;
  for (const auto& tensor : tensors) {
    must(writer.add_tensor(tensor.source->name, tensor.source->shape, tensor.type));
    total += bytes_of(tensor);
  }
  {
    Progress progress(total);
    Weights weights(options.seed, host_threads(options.threads));
    std::vector<std::uint8_t> piece;
    for (const auto& tensor : tensors) {
      const auto layout = *mlx_native::ggml_layout(tensor.type);
      parameters += bytes_of(tensor) / layout.block_bytes * layout.block_values;
      constexpr std::uint64_t kPieceBlocks = 1 << 14;  // up to 64 KiB of 4-byte values, 4 MiB of larger blocks
      for (std::uint64_t rest = bytes_of(tensor); rest > 0; rest -= piece.size()) {
        if (interrupt.requested()) return interrupt.exit_code();
        piece.resize(std::min(rest, kPieceBlocks * layout.block_bytes));
        weights.fill(*tensor.source, tensor.type, piece);
        must(writer.write(piece));
        progress.show(done += piece.size(), tensor.source->name);
      }
    }
    must(writer.finish());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_output(fmt::format("{}: {} {}, {} layers, {} parameters, {} as {}, {:.1f} s\n",
                           printable_line(options.out.string()), preset.architecture, preset.name, preset.layers,
                           count_text(parameters), bytes_text(total), recipe->name, seconds.count()));
  return kSuccess;
}

}  // namespace

Command add_synth(CLI::App& app) {
  CLI::App& command = add_command(
      app, "synth", "write a GGUF model of a public model's shape with random weights",
      "For measuring speed without a download: shapes, types, metadata and size of the vocabulary are those of the "
      "model, so that other programs load the file too; what it says is noise. Weights are normally distributed with "
      "the variance that keeps activations near one. A million values per type and variance are encoded once, and "
      "tensors are filled with runs of 256 of them in random order. The same seed gives the same file.");
  const auto options = std::make_shared<Options>();
  add_text(command, "--arch", options->architecture, "qwen3 or qwen3moe", {.type = "NAME", .required = true});
  add_text(command, "--preset", options->preset, "qwen3: 0.6b, 1.7b, 8b; qwen3moe: 30b-a3b; both: tiny",
           {.type = "NAME", .required = true});
  add_text(command, "--type", options->type, fmt::format("{}", fmt::join(recipe_names(), ", ")),
           {.type = "TYPE", .show_default = true});
  add_number(command, "--layers", options->layers, 0, 1024, "only the first N layers; 0: all");
  add_number(command, "-s,--seed", options->seed, 0, UINT64_MAX, "seed of the weights");
  add_text(command, "-o,--output", options->out, "GGUF file to write; it appears when it is complete",
           {.type = "FILE", .required = true});
  add_host_threads(command, options->threads);
  return {&command, [options] { return synth(*options); }};
}

}  // namespace mlxn
