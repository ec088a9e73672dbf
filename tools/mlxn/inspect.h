// What `mlxn inspect` prints of one file format.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>

namespace mlxn {

struct InspectOptions {
  std::filesystem::path path;
  bool json = false;
  bool full = false;  ///< arrays and strings whole
};

/// Values of all tensors, at most 2^64 - 1: those of unknown types may have any number.
template <class File>
std::uint64_t value_count(const File& file) {
  std::uint64_t count = 0;
  for (const auto& tensor : file.tensors()) {
    std::uint64_t values = 1;
    for (const std::size_t extent : tensor.shape) values *= extent;
    count += std::min(values, UINT64_MAX - count);
  }
  return count;
}

void inspect_gguf(const InspectOptions& options);
void inspect_safetensors(const InspectOptions& options);

}  // namespace mlxn
