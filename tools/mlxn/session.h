// A model loaded for a command, and what running it cost.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "mlx_native/gguf.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/models/model.h"
#include "mlx_native/models/tokenizer.h"
#include "options.h"
#include "output.h"

namespace mlxn {

/// -m, --no-mmap, --kv, --precision and -b.
struct ModelChoice {
  std::filesystem::path path;
  bool read = false;
  std::string kv = "f32";
  std::optional<std::uint32_t> batch;  ///< else as the device has it
  mlx_native::ModelOptions options;

  /// Gives the option -m.
  CLI::Option* add_to(CLI::App& app, bool required = true);
};

/// Throws Failure where the file cannot be opened.
mlx_native::GgufFile open_model(const ModelChoice& choice);

/// Throws Failure where the model cannot be loaded.
mlx_native::Model load_model(const ModelChoice& choice, const mlx_native::GgufFile& file,
                             const mlx_native::MlxDevice& device);

/// The text of a file, or of stdin for "-". Throws Failure where it cannot be read or is larger than kMaxText.
std::string read_text(const std::filesystem::path& path);
inline constexpr std::size_t kMaxText = std::size_t{1} << 30;

/// Most bytes of memory that this process has held so far, mapped files included.
std::uint64_t peak_memory();
/// "memory: file ..., weights ..., KV cache ..., activations ..., peak RSS ...".
std::string memory_text(const mlx_native::GgufFile& file, const mlx_native::ModelMemory& memory);
/// The same in bytes.
Json memory_json(const mlx_native::GgufFile& file, const mlx_native::ModelMemory& memory);

}  // namespace mlxn
