#include "session.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "command.h"
#include "text.h"

namespace mlxn {

using mlx_native::Backend;
using mlx_native::DType;
using mlx_native::GgufFile;
using mlx_native::MlxDevice;
using mlx_native::Model;

namespace {
// A GPU's products of fewer rows read weights for longer than they multiply.
constexpr std::uint32_t kBatch = 512, kGpuBatch = 2048;
}  // namespace

CLI::Option* ModelChoice::add_to(CLI::App& app, bool required) {
  CLI::Option* model = add_text(app, "-m,--model", path, "GGUF model (of a split one the first part)",
                                {.type = "FILE", .required = required});
  add_flag(app, "--no-mmap", read,
           "read the file into memory, in large pages, instead of mapping it: a slower start and faster tokens");
  add_text(app, "--kv", kv, "type of the KV cache: f32 or f16",
           {.type = "TYPE", .show_default = true, .one_of = {"f32", "f16"}});
  add_precision(app, options.precision);
  add_number(app, "-b,--batch-size", batch, 1, mlx_native::kMaxPrefillChunk,
             fmt::format("prompt tokens that are processed at once; by default {}, on a GPU {}", kBatch, kGpuBatch),
             "");
  return model;
}

GgufFile open_model(const ModelChoice& choice) {
  using mlx_native::FileAccess;
  return must(GgufFile::open(choice.path, choice.read ? FileAccess::Read : FileAccess::Map));
}

Model load_model(const ModelChoice& choice, const GgufFile& file, const MlxDevice& device) {
  auto options = choice.options;
  options.kv_dtype = choice.kv == "f16" ? DType::F16 : DType::F32;
  const bool gpu = device.backend() == Backend::Cuda || device.backend() == Backend::Metal;
  options.prefill_chunk = choice.batch.value_or(gpu ? kGpuBatch : kBatch);
  return must(Model::load(file, device, mlx_native::KernelRegistry(), options));
}

std::string read_text(const std::filesystem::path& path) {
  const bool is_stdin = path == "-";
  if (path.empty()) throw Failure("cannot read \"\": an empty path names no file");
  const auto close = [is_stdin](std::FILE* file) { return is_stdin ? 0 : std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(is_stdin ? stdin : std::fopen(path.c_str(), "rb"), close);
  const auto fail = [&] { throw Failure(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno))); };
  if (!file) fail();
  std::string text;
  for (;;) {
    constexpr std::size_t kPiece = 1 << 16;
    const std::size_t size = text.size();
    text.resize(size + kPiece);
    text.resize(size + std::fread(text.data() + size, 1, kPiece, file.get()));
    if (std::ferror(file.get())) fail();
    if (text.size() > kMaxText) throw Failure(fmt::format("{} is longer than {}", path.string(), bytes_text(kMaxText)));
    if (std::feof(file.get())) return text;
  }
}

std::uint64_t peak_memory() {
  struct rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto peak = static_cast<std::uint64_t>(usage.ru_maxrss);
#ifdef __APPLE__
  return peak;
#else
  return peak * 1024;
#endif
}

std::string memory_text(const GgufFile& file, const mlx_native::ModelMemory& memory) {
  return fmt::format("memory: file {}, weights {}, KV cache {}, activations {}, peak RSS {}",
                     bytes_text(file.file_bytes()), bytes_text(memory.weights), bytes_text(memory.kv_cache),
                     bytes_text(memory.activations), bytes_text(peak_memory()));
}

Json memory_json(const GgufFile& file, const mlx_native::ModelMemory& memory) {
  return {{"file", file.file_bytes()},
          {"weights", memory.weights},
          {"kv_cache", memory.kv_cache},
          {"activations", memory.activations},
          {"peak_rss", peak_memory()}};
}

}  // namespace mlxn
