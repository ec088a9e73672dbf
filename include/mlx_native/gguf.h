#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"
#include "mlx_native/dtype.h"
#include "mlx_native/error.h"
#include "mlx_native/ggml_type.h"

namespace mlx_native {

/// A metadata value of a GGUF file. Arrays hold values of one scalar or string type (nested arrays are rejected).
struct MetadataValue {
  using Scalar = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t,
                              float, bool, std::string, std::uint64_t, std::int64_t, double>;
  using Array = std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                             std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                             std::vector<float>, std::vector<bool>, std::vector<std::string>,
                             std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>;
  std::variant<Scalar, Array> value;

  /// Any integer that fits, of whatever width and sign it was written.
  std::optional<std::uint64_t> as_u64() const;
  std::optional<std::int64_t> as_i64() const;
  std::optional<std::uint32_t> as_u32() const;
  std::optional<float> as_f32() const;  ///< f32, f64, or an integer
  std::optional<bool> as_bool() const;
  const std::string* as_string() const;
  /// The array of exactly that element type, or null.
  template <class T>
  const std::vector<T>* as_array() const {
    const Array* array = std::get_if<Array>(&value);
    return array ? std::get_if<std::vector<T>>(array) : nullptr;
  }
  /// Length of an array of any type, or nullopt for a scalar.
  std::optional<std::size_t> array_size() const;
};

struct TensorInfo {
  std::string name;
  Shape shape;  ///< outermost first
  GgmlType ggml_type;
  std::uint64_t offset;    ///< from the start of its file
  std::uint64_t byte_len;  ///< without padding
};

/// A GGUF file (version 2 or 3, little endian), or all parts of a split one, mapped read-only. Everything in it is
/// checked against the file's size before it is used; opening costs time and memory linear in the header. Safe from
/// many threads; the mapping lives while a buffer of it lives.
class GgufFile {
 public:
  /// Opens `path`; for the first part of a split ("name-00001-of-00003.gguf") also the others beside it.
  /// IoError where it cannot be opened or mapped; GgufParseError, naming the place, for anything malformed.
  static Result<GgufFile> open(const std::filesystem::path& path);

  std::uint32_t version() const;
  std::uint64_t file_bytes() const;  ///< of all parts
  const std::filesystem::path& path() const;

  /// In file order.
  std::span<const TensorInfo> tensors() const;
  std::vector<std::string> tensor_names() const;
  /// Null where there is none of that name.
  const TensorInfo* tensor_info(std::string_view name) const;

  struct MetadataEntry {
    std::string key;
    MetadataValue value;
  };
  /// In file order.
  std::span<const MetadataEntry> metadata() const;
  /// Null where there is no such key.
  const MetadataValue* metadata(std::string_view key) const;
  std::optional<std::string> metadata_string(std::string_view key) const;
  std::optional<std::uint32_t> metadata_u32(std::string_view key) const;
  std::optional<std::uint64_t> metadata_u64(std::string_view key) const;
  std::optional<float> metadata_f32(std::string_view key) const;
  std::optional<bool> metadata_bool(std::string_view key) const;

  /// The tensor's bytes in the mapping; valid while this object, a copy of it, or a buffer of it lives.
  /// InvalidArgument for an unknown name; IoError where the file has shrunk since it was opened.
  Result<std::span<const std::uint8_t>> tensor_bytes(std::string_view name) const;
  /// On `device`, shape and dtype as in the file (quantized blocks: U8, one dimension of bytes). Shared with the
  /// mapping on the CPU, uploaded elsewhere.
  Result<MlxBuffer> load_tensor(std::string_view name, const MlxDevice& device) const;
  /// Decoded to F32 on `device`.
  Result<MlxBuffer> load_tensor_f32(std::string_view name, const MlxDevice& device) const;

 private:
  struct State;
  explicit GgufFile(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Writes a GGUF v3 file, streaming: metadata first, then every tensor's data in the order in which it was declared.
/// The file appears under its name only at finish(); until then it is a temporary file beside it, removed on failure.
class GgufWriter {
 public:
  static Result<GgufWriter> create(const std::filesystem::path& path);
  GgufWriter(GgufWriter&&) noexcept;
  GgufWriter& operator=(GgufWriter&&) noexcept;
  ~GgufWriter();

  /// InvalidArgument for an empty or repeated key, or once data was written.
  Result<void> add_metadata(std::string key, MetadataValue value);
  /// `shape` outermost first. InvalidArgument for a bad name or shape, a repeated name, or once data was written.
  Result<void> add_tensor(std::string name, Shape shape, GgmlType type);
  /// Bytes of the next declared tensor, in pieces of any size; a tensor ends when its bytes are complete.
  Result<void> write(std::span<const std::uint8_t> bytes);
  /// Checks that every tensor is complete, syncs, and renames.
  Result<void> finish();

 private:
  struct State;
  explicit GgufWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mlx_native
