#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "core/mapped_file.h"
#include "files/gguf_parse.h"
#include "mlx_native/gguf.h"

namespace mlx_native {

struct GgufFile::State {
  std::filesystem::path path;
  std::uint32_t version = 0;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<GgufFile::MetadataEntry> metadata;  ///< of the first part
  MetadataIndex metadata_index;
  std::vector<TensorInfo> tensors;
  std::vector<std::uint16_t> file_of;  ///< index into `files` of each tensor
  TensorIndex tensor_index;

  Result<const TensorInfo*> tensor(std::string_view name) const;
  const std::shared_ptr<const MappedFile>& file(const TensorInfo& tensor) const {
    return files[file_of[static_cast<std::size_t>(&tensor - tensors.data())]];
  }
  /// As GgufFile::tensor_bytes.
  Result<std::span<const std::uint8_t>> bytes(const TensorInfo& tensor) const;
};

namespace detail {

struct GgufAccess {
  struct Part {
    std::shared_ptr<const MappedFile> file;
    GgufPart header;
  };
  /// Parses one file; errors name its path.
  static Result<Part> parse(std::shared_ptr<const MappedFile> file);
  /// Joins all parts of a file.
  static Result<GgufFile> join(std::vector<Part> parts);
  /// GgufFile::open for bytes in memory.
  static Result<GgufFile> from_memory(std::vector<std::uint8_t> bytes);
};

}  // namespace detail

}  // namespace mlx_native
