#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <system_error>

#include "command.h"
#include "convert.h"
#include "interrupt.h"
#include "mlx_native/gguf.h"
#include "options.h"
#include "output.h"
#include "recipe.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::GgmlType;
using mlx_native::GgufFile;
using mlx_native::GgufWriter;
using mlx_native::MetadataValue;
using mlx_native::Result;

struct Options {
  std::filesystem::path in, out;
  std::string type;
  std::uint32_t threads = 0;
  bool allow_requantize = false;
};

bool is_float(GgmlType type) { return type == GgmlType::F32 || type == GgmlType::F16 || type == GgmlType::BF16; }

std::string_view name_of(GgmlType type) { return mlx_native::ggml_type_name(type); }

/// Whether writing `out` would replace the model that is read, or a part of it.
bool replaces_input(const GgufFile& in, const std::filesystem::path& out) {
  std::error_code ignored;
  if (std::filesystem::equivalent(in.path(), out, ignored)) return true;
  const std::uint32_t parts = in.metadata_u32("split.count").value_or(1);
  const std::string name = in.path().string();
  const std::string first_suffix = fmt::format("-00001-of-{:05}.gguf", parts);
  if (parts < 2 || !name.ends_with(first_suffix)) return false;
  const std::string stem = name.substr(0, name.size() - first_suffix.size());
  for (std::uint32_t part = 2; part <= parts; ++part)
    if (std::filesystem::equivalent(fmt::format("{}-{:05}-of-{:05}.gguf", stem, part, parts), out, ignored))
      return true;
  return false;
}

void check(const std::vector<PlannedTensor>& tensors, const Options& options) {
  for (const auto& tensor : tensors) {
    const GgmlType from = tensor.source->ggml_type;
    // f32 holds every decoded value exactly: nothing is lost twice.
    if (from == tensor.type || is_float(from) || tensor.type == GgmlType::F32 || options.allow_requantize) continue;
    throw Failure(
        fmt::format("tensor {} is {} already, and quantizing twice loses accuracy: start from a model in "
                    "f32, f16 or bf16, or give --allow-requantize",
                    tensor.source->name, name_of(from)));
  }
}

/// The input's metadata under the new file type, without what makes it a part of a split.
Result<void> write_metadata(GgufWriter& writer, const GgufFile& in, const Recipe& recipe) {
  const auto add = [&](std::string key, MetadataValue value) {
    return writer.add_metadata(std::move(key), std::move(value));
  };
  const auto number = [](std::uint32_t value) { return MetadataValue{MetadataValue::Scalar(value)}; };
  const std::string_view file_type = "general.file_type";
  const std::string_view version = "general.quantization_version";
  for (const auto& [key, value] : in.metadata()) {
    if (key.starts_with("split.") || key == file_type || key == version) continue;
    if (auto added = add(key, value); !added) return added;
  }
  if (auto added = add(std::string(file_type), number(recipe.file_type)); !added) return added;
  if (is_float(recipe.base)) return {};
  return add(std::string(version), number(kQuantizationVersion));
}

int quantize(const Options& options) {
  const auto recipe = find_recipe(options.type);
  if (!recipe)
    throw Misuse(fmt::format("TYPE needs one of {}, not \"{}\"", fmt::join(recipe_names(), ", "), options.type));
  const auto in = must(GgufFile::open(options.in));
  if (replaces_input(in, options.out))
    throw Failure(fmt::format("{} is the input itself: name another output", options.out.string()));
  const auto tensors = plan(outline_of(in), *recipe);
  check(tensors, options);

  const auto start = std::chrono::steady_clock::now();
  const std::uint32_t threads = host_threads(options.threads);
  const Interrupt interrupt;
  auto writer = must(GgufWriter::create(options.out));
  must(write_metadata(writer, in, *recipe));
  std::uint64_t in_bytes = 0, out_bytes = 0;
  for (const auto& tensor : tensors) {
    must(writer.add_tensor(tensor.source->name, tensor.source->shape, tensor.type));
    in_bytes += tensor.source->byte_len;
  }
  {
    Progress progress(in_bytes);
    std::uint64_t done = 0;
    for (const auto& tensor : tensors) {
      const auto sink = [&](std::span<const std::uint8_t> bytes) {
        out_bytes += bytes.size();
        return interrupt.requested() ? Result<void>() : writer.write(bytes);
      };
      progress.show(done, tensor.source->name);
      const auto source = must(in.tensor_bytes(tensor.source->name));
      const auto converted =
          convert({source, tensor.source->ggml_type, tensor.type, tensor.source->shape.back(), threads}, sink);
      if (interrupt.requested()) return interrupt.exit_code();
      if (!converted) throw Failure(fmt::format("tensor {}: {}", tensor.source->name, converted.error().message));
      done += tensor.source->byte_len;
    }
    must(writer.finish());
  }

  for (const auto& tensor : tensors)
    if (tensor.wanted)
      write_output(fmt::format("note: {} has rows of {} values, which {} cannot hold: {} instead\n",
                               printable_line(tensor.source->name), tensor.source->shape.back(),
                               name_of(*tensor.wanted), name_of(tensor.type)));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_output(fmt::format("{}: {} tensors, {} -> {} as {}, {:.1f} s\n", printable_line(options.out.string()),
                           tensors.size(), bytes_text(in_bytes), bytes_text(out_bytes), recipe->name, seconds.count()));
  return kSuccess;
}

}  // namespace

Command add_quantize(CLI::App& app) {
  CLI::App& command = add_command(
      app, "quantize", "write a GGUF model with its weights in another type",
      "Tensors of one dimension, norms and routers keep their type. q4_k_m is llama.cpp's mix: q4_k, with q6_k for "
      "the output (or tied embedding) and for attn_v and ffn_down of about half of the layers. A tensor whose rows are "
      "not a multiple of the type's block becomes q8_0, or f16 where q8_0 does not fit either; a note names it.");
  const auto options = std::make_shared<Options>();
  add_text(command, "IN", options->in, "GGUF model in f32, f16 or bf16 (of a split one the first part)",
           {.required = true});
  add_text(command, "OUT", options->out, "GGUF file to write; it appears when it is complete", {.required = true});
  add_text(command, "TYPE", options->type, fmt::format("{}", fmt::join(recipe_names(), ", ")), {.required = true});
  add_host_threads(command, options->threads);
  add_flag(command, "--allow-requantize", options->allow_requantize, "accept tensors that are quantized already");
  return {&command, [options] { return quantize(*options); }};
}

}  // namespace mlxn
