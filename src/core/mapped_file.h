#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "mlx_native/error.h"

namespace mlx_native {

/// The bytes of a regular file, mapped read-only or copied, from a page boundary on; unmapped with the last owner.
class MappedFile {
 public:
  /// IoError, at once and without reading, for anything but a readable regular file (directory, FIFO, device).
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  /// A copy in memory of its own, in large pages where the system has them. Errors as open(); IoError also where
  /// reading fails or the file becomes shorter meanwhile, BufferAllocationError where it needs more memory than is
  /// available.
  static Result<std::shared_ptr<const MappedFile>> read(const std::filesystem::path& path);
  /// The same interface over bytes in memory.
  static std::shared_ptr<const MappedFile> in_memory(std::vector<std::uint8_t> bytes);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::uint8_t> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

  /// IoError where the file is shorter now than when it was opened: reading the lost pages would raise SIGBUS. A
  /// file that is truncated while its bytes are being read still raises that signal; rename a new file over the old
  /// one instead.
  Result<void> check_not_shrunk() const;

 private:
  MappedFile() = default;
  /// Opens and examines the file at path_; the size that it has.
  Result<std::size_t> open_regular();

  std::filesystem::path path_;
  std::span<const std::uint8_t> bytes_;
  int descriptor_ = -1;  // -1: nothing that could shrink
  bool mapped_ = false;  // bytes_ are to be unmapped; else they are those of memory_
  std::vector<std::uint8_t> memory_;
};

}  // namespace mlx_native
