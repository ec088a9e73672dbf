#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "mlx_native/error.h"

namespace mlx_native {

/// A file that appears whole or not at all: written as a temporary file in the same directory, renamed by finish(),
/// removed when dropped before. It has the permissions of a file that it replaces. All errors are IoErrors.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::filesystem::path& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile() { discard(); }

  Result<void> write(std::span<const std::uint8_t> bytes);
  /// Syncs, closes and renames.
  Result<void> finish();
  /// Closes and removes the temporary file; nothing after finish().
  void discard() noexcept;

 private:
  OutputFile() = default;

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

}  // namespace mlx_native
