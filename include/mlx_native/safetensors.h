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

namespace detail {
struct SafetensorsAccess;
}

struct SafetensorsInfo {
  std::string name;            ///< UTF-8 without control characters
  Shape shape;                 ///< outermost first; empty for a scalar
  std::string dtype_text;      ///< as written: "BF16", "F8_E4M3"
  std::optional<DType> dtype;  ///< nullopt where no DType stands for it
  std::uint64_t offset;        ///< from the start of the file
  std::uint64_t byte_len;
};

/// A safetensors file, mapped read-only, its header parsed once and checked against the file's size: names are unique,
/// every tensor takes exactly the bytes that its shape and dtype ask for (of an unknown dtype: lies in the file), and
/// together they cover the data without gap, overlap or tail. Opening takes time (apart from sorting) and memory linear
/// in the header. Thread-safe; the mapping lives while this object, a copy of it, or a buffer of it lives.
class SafetensorsFile {
 public:
  SafetensorsFile(const SafetensorsFile&) = default;
  SafetensorsFile& operator=(const SafetensorsFile&) = default;

  /// IoError where it cannot be opened or mapped or is not a regular file; SafetensorsError, naming the place, for
  /// anything malformed.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  /// In order of their offsets.
  std::span<const SafetensorsInfo> tensors() const;
  std::vector<std::string> tensor_names() const;
  /// Null where there is none of that name.
  const SafetensorsInfo* tensor_info(std::string_view name) const;
  /// Keys of "__metadata__", in file order.
  std::vector<std::string> metadata_keys() const;
  /// Value of a key of "__metadata__"; nullopt where there is no such key.
  std::optional<std::string> metadata(std::string_view key) const;

  /// Empty for a tensor without elements. InvalidArgument for an unknown name; IoError where the file has shrunk since
  /// it was opened. A file that shrinks later, while the bytes are read, raises SIGBUS: replace files by renaming.
  Result<std::span<const std::uint8_t>> tensor_bytes(std::string_view name) const;
  /// On `device`, shape and dtype as in the file; shared with the mapping on the CPU (copied where the data does not
  /// lie at a multiple of 16 bytes), uploaded elsewhere. UnsupportedDtype where no DType stands for the tensor's;
  /// InvalidArgument for an unknown or empty tensor.
  Result<MlxBuffer> load_tensor(std::string_view name, const MlxDevice& device) const;

 private:
  friend struct detail::SafetensorsAccess;
  struct State;
  explicit SafetensorsFile(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace mlx_native
