#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "files/gguf_format.h"
#include "files/limits.h"
#include "files/output_file.h"
#include "files/text.h"
#include "mlx_native/gguf.h"

namespace mlx_native {

namespace {

using Bytes = std::vector<std::uint8_t>;

template <class T>
void put(Bytes& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    put(out, std::uint64_t{value.size()});
    out.insert(out.end(), value.begin(), value.end());
  } else if constexpr (std::is_same_v<T, bool>) {
    out.push_back(value ? 1 : 0);
  } else {
    static_assert(std::is_arithmetic_v<T>);
    const auto at = out.size();
    out.resize(at + sizeof(T));
    std::memcpy(out.data() + at, &value, sizeof(T));
  }
}

Result<void> check_string(const std::string& text) {
  if (text.size() > limits::kMaxString)
    return invalid("a string of {} bytes, at most {} are allowed", text.size(), limits::kMaxString);
  return {};
}

Result<void> check_value(const MetadataValue& value) {
  if (const auto* text = value.as_string()) return check_string(*text);
  if (const auto size = value.array_size(); size > limits::kMaxArray)
    return invalid("an array of {} elements, at most {} are allowed", *size, limits::kMaxArray);
  if (const auto* texts = value.as_array<std::string>())
    for (const auto& text : *texts) MLXN_TRY(check_string(text));
  return {};
}

void put_value(Bytes& out, const MetadataValue& value) {
  if (const auto* scalar = std::get_if<MetadataValue::Scalar>(&value.value)) {
    put(out, gguf::value_type(scalar->index()));
    std::visit([&](const auto& held) { put(out, held); }, *scalar);
    return;
  }
  const auto& array = std::get<MetadataValue::Array>(value.value);
  put(out, gguf::kArrayType);
  put(out, gguf::value_type(array.index()));
  std::visit(
      [&](const auto& elements) {
        using T = typename std::decay_t<decltype(elements)>::value_type;
        put(out, std::uint64_t{elements.size()});
        for (const T& element : elements) put(out, element);
      },
      array);
}

std::uint64_t padding(std::uint64_t position, std::uint64_t alignment) {
  return (alignment - position % alignment) % alignment;
}

}  // namespace

struct GgufWriter::State {
  explicit State(OutputFile output) : file(std::move(output)) {}

  struct Tensor {
    std::string name;
    Shape shape;
    GgmlType type;
    std::uint64_t byte_len;
  };

  OutputFile file;
  std::uint64_t alignment = gguf::kDefaultAlignment;
  std::uint64_t metadata_count = 0;
  Bytes metadata;
  std::set<std::string, std::less<>> keys, names;
  std::vector<Tensor> tensors;
  std::uint64_t data_bytes = 0;  // of all declared tensors, padded to the largest alignment

  bool header_written = false, finished = false;
  std::size_t current = 0;  // the tensor whose bytes are written next
  std::uint64_t written_of_it = 0;
  std::uint64_t missing = 0;  // bytes of declared tensors that were not written yet
  std::optional<MlxError> failure;

  static Result<void> check_open(const State* state, bool declaring) {
    if (!state) return invalid("the writer is empty: it was moved from");
    if (state->failure) return tl::unexpected(*state->failure);
    if (state->finished) return invalid("the file is finished");
    if (declaring && state->header_written)
      return invalid("metadata and tensors must be declared before data is written");
    return {};
  }

  Result<void> output(std::span<const std::uint8_t> bytes) { return keep(file.write(bytes)); }

  Result<void> keep(Result<void> result) {
    if (!result) {
      failure = result.error();
      file.discard();
    }
    return result;
  }

  Result<void> pad(std::uint64_t position) { return output(Bytes(padding(position, alignment))); }

  Result<void> write_header() {
    if (header_written) return {};
    header_written = true;
    Bytes header;
    put(header, gguf::kMagic);
    put(header, gguf::kVersion);
    put(header, std::uint64_t{tensors.size()});
    put(header, metadata_count);
    header.insert(header.end(), metadata.begin(), metadata.end());
    std::uint64_t offset = 0;
    for (const auto& tensor : tensors) {
      put(header, tensor.name);
      put(header, static_cast<std::uint32_t>(tensor.shape.size()));
      for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
        put(header, std::uint64_t{*extent});
      put(header, static_cast<std::uint32_t>(tensor.type));
      put(header, offset);
      offset += tensor.byte_len + padding(tensor.byte_len, alignment);
    }
    header.resize(header.size() + padding(header.size(), alignment));
    return output(header);
  }
};

GgufWriter::GgufWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufWriter::GgufWriter(GgufWriter&&) noexcept = default;
GgufWriter& GgufWriter::operator=(GgufWriter&&) noexcept = default;
GgufWriter::~GgufWriter() = default;

Result<GgufWriter> GgufWriter::create(const std::filesystem::path& path) {
  MLXN_ASSIGN(auto file, OutputFile::create(path));
  return GgufWriter(std::make_unique<State>(std::move(file)));
}

Result<void> GgufWriter::add_metadata(std::string key, MetadataValue value) {
  MLXN_TRY(State::check_open(state_.get(), true));
  auto& s = *state_;
  if (!is_name(key) || key.size() > limits::kMaxKey)
    return invalid("metadata key {} of {} bytes: 1 to {} bytes of UTF-8 without control characters are needed",
                   shown(key), key.size(), limits::kMaxKey);
  if (s.keys.contains(key)) return invalid("metadata key {} is there already", shown(key));
  if (s.metadata_count == limits::kMaxMetadata) return invalid("more than {} metadata entries", limits::kMaxMetadata);
  if (auto checked = check_value(value); !checked)
    return invalid("metadata {}: {}", shown(key), checked.error().message);
  if (key == "general.alignment") {
    const auto alignment = gguf::alignment_of(&value);
    if (!alignment) return invalid("{}", alignment.error());
    s.alignment = *alignment;
  }
  put(s.metadata, key);
  put_value(s.metadata, value);
  s.keys.insert(std::move(key));
  ++s.metadata_count;
  return {};
}

Result<void> GgufWriter::add_tensor(std::string name, Shape shape, GgmlType type) {
  MLXN_TRY(State::check_open(state_.get(), true));
  auto& s = *state_;
  if (!is_name(name) || name.size() > limits::kMaxTensorName)
    return invalid("tensor name {} of {} bytes: 1 to {} bytes of UTF-8 without control characters are needed",
                   shown(name), name.size(), limits::kMaxTensorName);
  if (s.names.contains(name)) return invalid("tensor {} is there already", shown(name));
  if (s.tensors.size() == limits::kMaxTensors) return invalid("more than {} tensors", limits::kMaxTensors);
  if (!ggml_layout(type))
    return invalid("tensor {} has the unknown type {}", shown(name), static_cast<std::uint32_t>(type));
  const auto bytes = gguf::tensor_extent(shape, type);
  if (!bytes) return invalid("tensor {}: {}", shown(name), bytes.error());
  const auto total = checked_add(s.data_bytes, *bytes);
  const auto padded = total ? checked_add(*total, limits::kMaxAlignment) : std::nullopt;
  if (!padded) return invalid("tensor {}: more than 2^64 - 1 bytes in all", shown(name));
  s.data_bytes = *padded;
  s.missing += *bytes;
  s.names.insert(name);
  s.tensors.push_back({std::move(name), std::move(shape), type, *bytes});
  return {};
}

Result<void> GgufWriter::write(std::span<const std::uint8_t> bytes) {
  MLXN_TRY(State::check_open(state_.get(), false));
  auto& s = *state_;
  if (bytes.size() > s.missing)
    return invalid("{} bytes more than the {} that the declared tensors still need", bytes.size() - s.missing,
                   s.missing);
  MLXN_TRY(s.write_header());
  while (!bytes.empty()) {
    const auto length = s.tensors[s.current].byte_len;
    const auto piece = bytes.first(std::min<std::uint64_t>(bytes.size(), length - s.written_of_it));
    MLXN_TRY(s.output(piece));
    bytes = bytes.subspan(piece.size());
    s.written_of_it += piece.size();
    s.missing -= piece.size();
    if (s.written_of_it < length) continue;
    MLXN_TRY(s.pad(length));
    ++s.current;
    s.written_of_it = 0;
  }
  return {};
}

Result<void> GgufWriter::finish() {
  MLXN_TRY(State::check_open(state_.get(), false));
  auto& s = *state_;
  if (s.current < s.tensors.size()) {
    const auto& tensor = s.tensors[s.current];
    return invalid("tensor {} has {} of its {} bytes", shown(tensor.name), s.written_of_it, tensor.byte_len);
  }
  MLXN_TRY(s.write_header());
  MLXN_TRY(s.keep(s.file.finish()));
  s.finished = true;
  return {};
}

}  // namespace mlx_native
