#include "files/safetensors_header.h"

#include <algorithm>
#include <tl/expected.hpp>
#include <tuple>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "files/limits.h"
#include "files/reader.h"
#include "files/safetensors_json.h"
#include "files/text.h"

namespace mlx_native {

namespace {

constexpr auto kParseError = ErrorKind::SafetensorsError;

struct Dtype {
  std::string_view text;
  unsigned bits;  ///< of an element
  std::optional<DType> dtype;
};

constexpr Dtype kDtypes[] = {
    {"F32", 32, DType::F32}, {"F16", 16, DType::F16}, {"BF16", 16, DType::BF16}, {"F64", 64, DType::F64},
    {"U8", 8, DType::U8},    {"U16", 16, DType::U16}, {"U32", 32, DType::U32},   {"U64", 64, DType::U64},
    {"I8", 8, DType::I8},    {"I16", 16, DType::I16}, {"I32", 32, DType::I32},   {"I64", 64, DType::I64},
    {"BOOL", 8, {}},         {"C64", 64, {}},         {"F8_E4M3", 8, {}},        {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},      {"F6_E2M3", 6, {}},      {"F6_E3M2", 6, {}},        {"F4", 4, {}},
};

tl::expected<SafetensorsInfo, std::string> check_tensor(SafetensorsJson::Tensor& tensor, std::uint64_t data_start,
                                                        std::uint64_t data_bytes) {
  const auto failed = [](std::string why) { return tl::unexpected(std::move(why)); };
  if (!tensor.dtype) return failed("no dtype");
  if (!tensor.shape) return failed("no shape");
  if (!tensor.data_offsets) return failed("no data_offsets");
  if (!is_name(*tensor.dtype)) return failed(fmt::format("dtype {} is not a name", shown(*tensor.dtype)));
  if (tensor.data_offsets->size() != 2)
    return failed(fmt::format("{} data_offsets, 2 are needed", tensor.data_offsets->size()));
  const auto begin = (*tensor.data_offsets)[0], end = (*tensor.data_offsets)[1];
  if (begin > end || end > data_bytes)
    return failed(
        fmt::format("data_offsets [{}, {}] do not lie in order within the {} bytes of data", begin, end, data_bytes));

  const auto elements = checked_product(*tensor.shape);
  if (!elements)
    return failed(fmt::format("more than 2^64 - 1 elements in shape [{}]", fmt::join(*tensor.shape, ", ")));
  const auto known =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return d.text == *tensor.dtype; });
  std::optional<DType> dtype;
  if (known != std::end(kDtypes)) {
    const auto bits = checked_mul(*elements, known->bits);
    if (!bits || *bits % 8 != 0 || *bits / 8 != end - begin)
      return failed(fmt::format("shape [{}] of {} does not take the {} bytes of data_offsets [{}, {}]",
                                fmt::join(*tensor.shape, ", "), known->text, end - begin, begin, end));
    dtype = known->dtype;
  }
  return SafetensorsInfo{std::move(tensor.name), Shape(tensor.shape->begin(), tensor.shape->end()),
                         *tensor.dtype,          dtype,
                         data_start + begin,     end - begin};
}

Result<void> check_cover(std::span<const SafetensorsInfo> tensors, std::uint64_t data_start, std::uint64_t file_bytes) {
  auto position = data_start;
  for (const auto& tensor : tensors) {
    if (tensor.offset != position)
      return error(kParseError, "tensor {} begins at byte {} of the data, {} byte {} where those before it end",
                   shown(tensor.name), tensor.offset - data_start, tensor.offset < position ? "before" : "after",
                   position - data_start);
    position = tensor.offset + tensor.byte_len;
  }
  if (position != file_bytes)
    return error(kParseError, "{} bytes at the end belong to no tensor", file_bytes - position);
  return {};
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(std::span<const std::uint8_t> file) {
  Reader reader(file);
  const auto length = reader.take<std::uint64_t>();
  if (length > limits::kMaxSafetensorsHeader)
    return error(kParseError, "a header of {} bytes, at most {} are allowed", length, limits::kMaxSafetensorsHeader);
  const auto text = reader.take_bytes(length);
  if (!reader.ok()) return error(kParseError, "header: {}", reader.failure());
  if (text.empty() || text[0] != '{') return error(kParseError, "byte 8: the header does not begin with '{{'");

  // The JSON parser takes a zero byte for the end.
  if (const auto zero = std::find(text.begin(), text.end(), 0); zero != text.end())
    return error(kParseError, "byte {}: a zero byte in the header", 8 + (zero - text.begin()));

  SafetensorsJson json;
  const auto* start = reinterpret_cast<const char*>(text.data());
  if (!nlohmann::json::sax_parse(start, start + text.size(), &json)) return error(kParseError, "{}", json.failure);

  SafetensorsHeader header;
  header.metadata = std::move(json.metadata);
  header.metadata_index = SafetensorsHeader::EntryIndex(header.metadata);
  if (const auto* twice = header.metadata_index.duplicate(header.metadata))
    return error(kParseError, "__metadata__ key {} appears twice", shown(twice->key));
  for (auto& tensor : json.tensors) {
    auto info = check_tensor(tensor, reader.position(), reader.remaining());
    if (!info) return error(kParseError, "tensor {}: {}", shown(tensor.name), info.error());
    header.tensors.push_back(std::move(*info));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.byte_len, a.name) < std::tie(b.offset, b.byte_len, b.name);
  });
  header.tensor_index = SafetensorsHeader::TensorIndex(header.tensors);
  if (const auto* twice = header.tensor_index.duplicate(header.tensors))
    return error(kParseError, "tensor {} appears twice", shown(twice->name));
  MLXN_TRY(check_cover(header.tensors, reader.position(), file.size()));
  return header;
}

}  // namespace mlx_native
