#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"
#include "mlx_native/dtype.h"
#include "mlx_native/error.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct SafetensorsInfo {
  std::string name;
  Shape shape;                 ///< outermost first; empty for a scalar
  std::string dtype_text;      ///< as written: "BF16", "F8_E4M3"
  std::optional<DType> dtype;  ///< nullopt where no DType stands for it
  std::uint64_t offset;        ///< from the start of the file
  std::uint64_t byte_len;
};

/// A safetensors file, mapped read-only, its header parsed once and checked against the file's size.
class SafetensorsFile {
 public:
  /// IoError where it cannot be opened or mapped; SafetensorsError, naming the place, for anything malformed.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  /// In order of their offsets.
  std::span<const SafetensorsInfo> tensors() const;
  std::vector<std::string> tensor_names() const;
  const SafetensorsInfo* tensor_info(std::string_view name) const;
  /// Value of a key of "__metadata__".
  std::optional<std::string> metadata(std::string_view key) const;

  Result<std::span<const std::uint8_t>> tensor_bytes(std::string_view name) const;
  /// UnsupportedDtype where no DType stands for the tensor's; InvalidArgument for an unknown or empty tensor.
  Result<MlxBuffer> load_tensor(std::string_view name, const MlxDevice& device) const;

 private:
  struct State;
  explicit SafetensorsFile(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace mlx_native
