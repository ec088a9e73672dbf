// What `mlxn inspect` prints of one file format.
#pragma once

#include <filesystem>

namespace mlxn {

struct InspectOptions {
  std::filesystem::path path;
  bool json = false;
  bool full = false;  ///< arrays and strings whole
};

void inspect_gguf(const InspectOptions& options);
void inspect_safetensors(const InspectOptions& options);

}  // namespace mlxn
