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

namespace [[gnu::visibility("default")]] mlx_native {

namespace detail {
struct GgufAccess;
}

/// A metadata value of a GGUF file. Arrays hold values of one scalar or string type (nested arrays are rejected).
/// Strings are bytes: UTF-8 by convention, which is not checked, and they may hold zeros.
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
  std::string name;  ///< UTF-8 without control characters, 1 to 63 bytes
  Shape shape;       ///< outermost first; one to four extents, none of them 0
  GgmlType ggml_type;
  std::uint64_t offset;    ///< from the start of its file
  std::uint64_t byte_len;  ///< without padding; 0 for a type without a ggml_layout, whose extent cannot be known
};

/// How the bytes of a file get into memory.
enum class FileAccess {
  Map,   ///< page by page as they are used, shared with the system's cache
  Read,  ///< all at once into memory of their own, in large pages where the system has them: takes as much memory as
         ///< the file is long and starts later, but products of few rows are a few percent faster
};

/// A GGUF file (version 2 or 3, little endian), or all parts of a split one, mapped read-only or read. Everything in it
/// is checked against the file's size before it is used: tensors lie inside the file, aligned, and do not overlap;
/// names and keys are unique. Padding after the last tensor may be missing. Opening takes time (apart from sorting the
/// names) and memory linear in the header's bytes, whatever counts it claims. A tensor of an unknown type is listed and
/// cannot be used. Thread-safe; the mapping lives while this object, a copy of it, or a buffer of it lives.
class GgufFile {
 public:
  GgufFile(const GgufFile&) = default;
  GgufFile& operator=(const GgufFile&) = default;

  /// Opens `path`; for the first part of a split ("name-00001-of-00003.gguf") also the others beside it. IoError where
  /// it (or a part) cannot be opened or mapped or is not a regular file; GgufParseError, naming the place, for anything
  /// malformed and for a part other than the first; with FileAccess::Read BufferAllocationError where memory runs out.
  static Result<GgufFile> open(const std::filesystem::path& path, FileAccess access = FileAccess::Map);

  std::uint32_t version() const;
  std::uint64_t file_bytes() const;  ///< of all parts
  const std::filesystem::path& path() const;

  /// In file order, parts in theirs.
  std::span<const TensorInfo> tensors() const;
  std::vector<std::string> tensor_names() const;
  /// Null where there is none of that name.
  const TensorInfo* tensor_info(std::string_view name) const;

  struct MetadataEntry {
    std::string key;
    MetadataValue value;
  };
  /// In file order; of the first part.
  std::span<const MetadataEntry> metadata() const;
  /// Null where there is no such key.
  const MetadataValue* metadata(std::string_view key) const;
  /// Nullopt where there is no such key or its value is of another type; integers of any width that fit.
  std::optional<std::string> metadata_string(std::string_view key) const;
  std::optional<std::uint32_t> metadata_u32(std::string_view key) const;
  std::optional<std::uint64_t> metadata_u64(std::string_view key) const;
  std::optional<float> metadata_f32(std::string_view key) const;
  std::optional<bool> metadata_bool(std::string_view key) const;

  /// The tensor's bytes in the mapping; valid while this object, a copy of it, or a buffer of it lives. InvalidArgument
  /// for an unknown name; UnsupportedDtype for an unknown type; IoError where the file has shrunk since it was opened.
  /// A file that shrinks later, while the bytes are read, raises SIGBUS: replace files by renaming.
  Result<std::span<const std::uint8_t>> tensor_bytes(std::string_view name) const;
  /// On `device`, shape and dtype as in the file (quantized blocks: U8, one dimension of bytes). Shared with the
  /// mapping on the CPU (copied where the file aligns its tensors to less than 16 bytes), uploaded elsewhere. Errors as
  /// tensor_bytes and MlxDevice::import_host.
  Result<MlxBuffer> load_tensor(std::string_view name, const MlxDevice& device) const;
  /// Decoded to F32 on `device`, shape as in the file. UnsupportedDtype for a type outside weight_formats().
  Result<MlxBuffer> load_tensor_f32(std::string_view name, const MlxDevice& device) const;

 private:
  friend struct detail::GgufAccess;
  struct State;
  explicit GgufFile(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Writes a GGUF v3 file, streaming: metadata first, then every tensor's data in the order in which it was declared.
/// The file appears under its name only at finish(), in one step; until then it is a temporary file beside it, removed
/// on failure and when the writer is dropped. An older file of that name, or that a link of that name leads to, is
/// replaced; programs that have it open or mapped keep the old one. GgufFile opens whatever the writer writes (a part
/// of a split file, which the keys "split.*" make it, needs the others beside it): names, values and shapes that it
/// would refuse are InvalidArgument and change nothing. After an IoError (a full disk) every further call returns that
/// error. Used by one thread at a time.
class GgufWriter {
 public:
  /// IoError where no file can be created beside `path`, or where `path` names no file, or one that is read-only or not
  /// regular.
  static Result<GgufWriter> create(const std::filesystem::path& path);
  GgufWriter(GgufWriter&&) noexcept;
  GgufWriter& operator=(GgufWriter&&) noexcept;
  ~GgufWriter();

  /// InvalidArgument for a bad or repeated key, or once data was written. "general.alignment" (U32, a power of two)
  /// sets the alignment of the tensors, 32 otherwise.
  Result<void> add_metadata(std::string key, MetadataValue value);
  /// `shape` outermost first. InvalidArgument for a bad name or shape, a repeated name, or once data was written.
  Result<void> add_tensor(std::string name, Shape shape, GgmlType type);
  /// Bytes of the declared tensors, in their order and in pieces of any size: a tensor ends when its bytes are
  /// complete, and padding is added. InvalidArgument, and nothing is written, for more bytes than were declared.
  Result<void> write(std::span<const std::uint8_t> bytes);
  /// Checks that every tensor is complete (InvalidArgument), syncs, and renames. Nothing can follow.
  Result<void> finish();

 private:
  struct State;
  explicit GgufWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mlx_native
