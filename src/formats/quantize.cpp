#include "mlx_native/quantize.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "core/error.h"
#include "formats/codec.h"

namespace mlx_native {
namespace {

Result<const Codec*> codec_of(GgmlType type) {
  if (const Codec* codec = find_codec(type)) return codec;
  return error(ErrorKind::UnsupportedDtype, "type {} ({}) is not a weight format of this library", std::uint32_t(type),
               ggml_type_name(type));
}

template <class T>
Result<std::vector<T>> allocate(std::size_t count) {
  try {
    return std::vector<T>(count);
  } catch (const std::exception&) {  // bad_alloc, length_error
    return error(ErrorKind::BufferAllocationError, "no memory for {} elements of {} bytes", count, sizeof(T));
  }
}

Result<std::uint64_t> block_count(const Codec& codec, std::span<const std::uint8_t> blocks) {
  if (blocks.size() % codec.block_bytes == 0) return blocks.size() / codec.block_bytes;
  return invalid("{} bytes given, but blocks of {} have {} bytes each", blocks.size(), ggml_type_name(codec.type),
                 codec.block_bytes);
}

Result<void> check_finite(std::span<const float> values) {
  const auto bad = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
  if (bad == values.end()) return {};
  return invalid("value {} is {}: only finite values can be encoded", bad - values.begin(), *bad);
}

Result<void> check_importance(std::span<const float> importance, std::size_t n_values) {
  if (importance.empty()) return {};
  if (importance.size() != n_values) {
    return invalid("{} importance weights given for {} values", importance.size(), n_values);
  }
  const auto bad = std::ranges::find_if_not(importance, [](float w) { return std::isfinite(w) && w >= 0; });
  if (bad == importance.end()) return {};
  return invalid("importance weight {} is {}: it must be finite and at least 0", bad - importance.begin(), *bad);
}

}  // namespace

Result<std::vector<float>> dequantize(GgmlType type, std::span<const std::uint8_t> blocks) {
  MLXN_ASSIGN(const Codec* codec, codec_of(type));
  MLXN_ASSIGN(const std::uint64_t n_blocks, block_count(*codec, blocks));
  MLXN_ASSIGN(std::vector<float> values, allocate<float>(n_blocks * codec->block_values));
  codec->decode(blocks.data(), n_blocks, values.data());
  return values;
}

Result<void> dequantize(GgmlType type, std::span<const std::uint8_t> blocks, std::span<float> values) {
  MLXN_ASSIGN(const Codec* codec, codec_of(type));
  MLXN_ASSIGN(const std::uint64_t n_blocks, block_count(*codec, blocks));
  if (values.size() != n_blocks * codec->block_values) {
    return invalid("{} blocks of {} hold {} values, but there is room for {}", n_blocks, ggml_type_name(type),
                   n_blocks * codec->block_values, values.size());
  }
  codec->decode(blocks.data(), n_blocks, values.data());
  return {};
}

Result<std::vector<std::uint8_t>> quantize(GgmlType type, std::span<const float> values,
                                           std::span<const float> importance) {
  MLXN_ASSIGN(const Codec* codec, codec_of(type));
  if (values.size() % codec->block_values != 0) {
    return invalid("{} values given, but blocks of {} hold {} each", values.size(), ggml_type_name(type),
                   codec->block_values);
  }
  MLXN_TRY(check_finite(values));
  MLXN_TRY(check_importance(importance, values.size()));
  const std::uint64_t n_blocks = values.size() / codec->block_values;
  MLXN_ASSIGN(std::vector<std::uint8_t> blocks, allocate<std::uint8_t>(n_blocks * codec->block_bytes));
  codec->encode(values.data(), importance.empty() ? nullptr : importance.data(), n_blocks, blocks.data());
  return blocks;
}

}  // namespace mlx_native
