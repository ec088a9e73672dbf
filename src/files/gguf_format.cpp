#include "files/gguf_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/checked.h"
#include "files/limits.h"

namespace mlx_native::gguf {

tl::expected<std::uint64_t, std::string> tensor_extent(const Shape& shape, GgmlType type) {
  if (shape.empty() || shape.size() > limits::kMaxDims)
    return tl::unexpected(fmt::format("{} dimensions, 1 to {} are allowed", shape.size(), limits::kMaxDims));
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return tl::unexpected<std::string>("an extent of 0");
  const auto elements = checked_product(shape);
  // ggml counts in int64_t.
  if (!elements || *elements > std::uint64_t(std::numeric_limits<std::int64_t>::max()))
    return tl::unexpected(fmt::format("more than 2^63 - 1 elements in shape [{}]", fmt::join(shape, ", ")));
  const auto layout = ggml_layout(type);
  if (!layout) return 0;
  if (shape.back() % layout->block_values != 0)
    return tl::unexpected(
        fmt::format("rows of {} values, {} needs a multiple of {}", shape.back(), layout->name, layout->block_values));
  const auto bytes = checked_mul(*elements / layout->block_values, layout->block_bytes);
  if (!bytes)
    return tl::unexpected(
        fmt::format("more than 2^64 - 1 bytes in shape [{}] of {}", fmt::join(shape, ", "), layout->name));
  return *bytes;
}

tl::expected<std::uint64_t, std::string> alignment_of(const MetadataValue* value) {
  if (!value) return kDefaultAlignment;
  const auto* scalar = std::get_if<MetadataValue::Scalar>(&value->value);
  const auto* alignment = scalar ? std::get_if<std::uint32_t>(scalar) : nullptr;
  if (!alignment) return tl::unexpected<std::string>("general.alignment must be a u32");
  if (!std::has_single_bit(*alignment) || *alignment > limits::kMaxAlignment)
    return tl::unexpected(
        fmt::format("general.alignment is {}, a power of two up to {} is needed", *alignment, limits::kMaxAlignment));
  return *alignment;
}

}  // namespace mlx_native::gguf
