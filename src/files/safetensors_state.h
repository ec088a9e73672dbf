#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/mapped_file.h"
#include "files/safetensors_header.h"
#include "mlx_native/safetensors.h"

namespace mlx_native {

struct SafetensorsFile::State {
  std::shared_ptr<const MappedFile> file;
  SafetensorsHeader header;
};

namespace detail {

struct SafetensorsAccess {
  static Result<SafetensorsFile> parse(std::shared_ptr<const MappedFile> file);
  /// SafetensorsFile::open for bytes in memory.
  static Result<SafetensorsFile> from_memory(std::vector<std::uint8_t> bytes) {
    return parse(MappedFile::in_memory(std::move(bytes)));
  }
};

}  // namespace detail

}  // namespace mlx_native
