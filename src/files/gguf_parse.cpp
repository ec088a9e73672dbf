#include "files/gguf_parse.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "files/gguf_format.h"
#include "files/limits.h"
#include "files/reader.h"
#include "files/text.h"

namespace mlx_native {

namespace {

constexpr auto kParseError = ErrorKind::GgufParseError;

// Key of one byte, type, value of one byte; name of one byte, one dimension, type, offset.
constexpr std::uint64_t kLeastEntry = 8 + 1 + 4 + 1;
constexpr std::uint64_t kLeastTensor = 8 + 1 + 4 + 8 + 4 + 8;

template <class T>
T take_value(Reader& reader) {
  if constexpr (std::is_same_v<T, std::string>) {
    return std::string(reader.take_string(limits::kMaxString));
  } else if constexpr (std::is_same_v<T, bool>) {
    const auto byte = reader.take<std::uint8_t>();
    if (byte > 1) reader.fail("a boolean of value {}, 0 or 1 is needed", byte);
    return byte == 1;
  } else {
    return reader.take<T>();
  }
}

template <class T>
std::vector<T> take_array(Reader& reader) {
  const auto count = reader.take_count("array elements", limits::kMaxArray, gguf::least_bytes<T>());
  std::vector<T> elements;
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    const auto bytes = reader.take_bytes(count * sizeof(T));
    elements.resize(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(elements.data(), bytes.data(), bytes.size());
  } else {
    for (std::uint64_t i = 0; i < count && reader.ok(); ++i) elements.push_back(take_value<T>(reader));
  }
  return elements;
}

/// Calls visit.template operator()<T>() for the C++ type of a scalar or string value type.
template <class Visit, std::size_t Alternative = 0>
void with_value_type(Reader& reader, std::uint32_t type, const Visit& visit) {
  if constexpr (Alternative == std::variant_size_v<MetadataValue::Scalar>) {
    reader.fail("value type {} is unknown", type);
  } else if (type == gguf::value_type(Alternative)) {
    visit.template operator()<std::variant_alternative_t<Alternative, MetadataValue::Scalar>>();
  } else {
    with_value_type<Visit, Alternative + 1>(reader, type, visit);
  }
}

MetadataValue take_metadata_value(Reader& reader) {
  MetadataValue value;
  const auto type = reader.take<std::uint32_t>();
  if (type != gguf::kArrayType) {
    with_value_type(reader, type, [&]<class T>() { value.value = MetadataValue::Scalar(take_value<T>(reader)); });
    return value;
  }
  const auto element_type = reader.take<std::uint32_t>();
  if (element_type == gguf::kArrayType)
    reader.fail("an array of arrays, which no known model uses");
  else
    with_value_type(reader, element_type,
                    [&]<class T>() { value.value = MetadataValue::Array(take_array<T>(reader)); });
  return value;
}

std::string take_name(Reader& reader, std::uint64_t max) {
  const auto name = reader.take_string(max);
  if (reader.ok() && !is_name(name))
    reader.fail("{} is not a name: empty, not UTF-8, or with control characters", shown(name));
  return std::string(name);
}

Result<void> take_metadata(Reader& reader, std::uint64_t count, GgufPart& part) {
  for (std::uint64_t i = 0; i < count; ++i) {
    GgufFile::MetadataEntry entry;
    entry.key = take_name(reader, limits::kMaxKey);
    if (!reader.ok()) return error(kParseError, "key of metadata entry {} of {}: {}", i, count, reader.failure());
    entry.value = take_metadata_value(reader);
    if (!reader.ok())
      return error(kParseError, "value of metadata entry {} of {}, {}: {}", i, count, shown(entry.key),
                   reader.failure());
    part.metadata.push_back(std::move(entry));
  }
  part.metadata_index = MetadataIndex(part.metadata);
  if (const auto* twice = part.metadata_index.duplicate(part.metadata))
    return error(kParseError, "metadata key {} appears twice", shown(twice->key));
  return {};
}

/// With the offset still relative to the data section.
Result<void> take_tensors(Reader& reader, std::uint64_t count, GgufPart& part) {
  for (std::uint64_t i = 0; i < count; ++i) {
    TensorInfo tensor{};
    tensor.name = take_name(reader, limits::kMaxTensorName);
    const auto dims = reader.take<std::uint32_t>();
    if (dims > limits::kMaxDims) reader.fail("{} dimensions, at most {} are allowed", dims, limits::kMaxDims);
    for (std::uint32_t d = 0; d < dims && reader.ok(); ++d) tensor.shape.push_back(reader.take<std::uint64_t>());
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    tensor.ggml_type = GgmlType(reader.take<std::uint32_t>());
    tensor.offset = reader.take<std::uint64_t>();
    if (!reader.ok())
      return error(kParseError, "tensor {} of {}, {}: {}", i, count, shown(tensor.name), reader.failure());
    const auto bytes = gguf::tensor_extent(tensor.shape, tensor.ggml_type);
    if (!bytes) return error(kParseError, "tensor {} of {}, {}: {}", i, count, shown(tensor.name), bytes.error());
    tensor.byte_len = *bytes;
    part.tensors.push_back(std::move(tensor));
  }
  return {};
}

/// Turns offsets into those from the start of the file.
Result<void> place_tensors(std::uint64_t data_start, std::uint64_t alignment, std::uint64_t file_bytes,
                           std::vector<TensorInfo>& tensors) {
  for (auto& tensor : tensors) {
    if (tensor.offset % alignment != 0)
      return error(kParseError, "tensor {}: offset {} is not a multiple of the alignment {}", shown(tensor.name),
                   tensor.offset, alignment);
    const auto start = checked_add(data_start, tensor.offset);
    const auto end = start ? checked_add(*start, tensor.byte_len) : std::nullopt;
    if (!end || *end > file_bytes)
      return error(kParseError, "tensor {}: {} bytes at {} + {} run past the end of the file, {} bytes",
                   shown(tensor.name), tensor.byte_len, data_start, tensor.offset, file_bytes);
    tensor.offset = *start;
  }

  std::vector<const TensorInfo*> by_offset;
  for (const auto& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](auto a, auto b) { return std::pair(a->offset, a->byte_len) < std::pair(b->offset, b->byte_len); });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const auto &before = *by_offset[i - 1], &after = *by_offset[i];
    if (before.offset + before.byte_len > after.offset)
      return error(kParseError, "tensors {} and {} overlap at byte {}", shown(before.name), shown(after.name),
                   after.offset);
  }
  return {};
}

}  // namespace

Result<GgufPart> parse_gguf(std::span<const std::uint8_t> file) {
  GgufPart part;
  Reader reader(file);
  if (const auto magic = reader.take<std::uint32_t>(); reader.ok() && magic != gguf::kMagic)
    return error(kParseError, "byte 0: magic number {:#010x}, GGUF files begin with {:#010x}", magic, gguf::kMagic);
  part.version = reader.take<std::uint32_t>();
  if (reader.ok() && part.version != 2 && part.version != 3) {
    if (const auto swapped = __builtin_bswap32(part.version); swapped >= 1 && swapped <= 3)
      return error(kParseError, "byte 4: a big-endian file (version {}), only little-endian files can be read",
                   swapped);
    return error(kParseError, "byte 4: version {}, only 2 and 3 can be read", part.version);
  }
  const auto tensor_count = reader.take_count("tensors", limits::kMaxTensors, kLeastTensor);
  const auto metadata_count = reader.take_count("metadata entries", limits::kMaxMetadata, kLeastEntry);
  if (!reader.ok()) return error(kParseError, "header: {}", reader.failure());

  MLXN_TRY(take_metadata(reader, metadata_count, part));
  const auto alignment = gguf::alignment_of(part.find("general.alignment"));
  if (!alignment) return error(kParseError, "{}", alignment.error());
  MLXN_TRY(take_tensors(reader, tensor_count, part));
  const auto data_start = (reader.position() + *alignment - 1) / *alignment * *alignment;
  MLXN_TRY(place_tensors(data_start, *alignment, file.size(), part.tensors));
  return part;
}

}  // namespace mlx_native
