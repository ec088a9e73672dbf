#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlx_native/mlx_native.h"

namespace mlx_native::test {

using Ids = std::vector<std::uint32_t>;

/// The value, or a failure that shows the error.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

inline MlxDevice cpu(std::uint32_t threads = 0) { return must(MlxDevice::create(Backend::Cpu, {.threads = threads})); }

inline GgufFile embedded_model(const std::string& name) {
  return must(GgufFile::open(std::string(MLXN_SOURCE_DIR) + "/share/models/" + name + ".q4_k_m.gguf"));
}

inline std::vector<float> values(const Result<MlxBuffer>& buffer) {
  const auto floats = must(must(buffer).as_slice<float>());
  return {floats.begin(), floats.end()};
}

}  // namespace mlx_native::test
