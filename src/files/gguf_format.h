// GGUF as it lies on disk, for the reader and the writer. All numbers are little-endian; strings are a u64 length and
// bytes.
//
//   u32 magic, u32 version, u64 tensor count, u64 metadata count
//   metadata: string key, u32 value type, value        (array: u32 element type, u64 count, elements)
//   tensors:  string name, u32 dims, u64 extents (innermost first), u32 ggml type, u64 offset from the data section
//   padding to the alignment, then the data section: every tensor at a multiple of the alignment
//
// Versions 2 and 3 have the same layout; version 1 had 32-bit counts and is gone.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <type_traits>
#include <variant>

#include "mlx_native/gguf.h"

namespace mlx_native::gguf {

static_assert(std::endian::native == std::endian::little);

inline constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::uint64_t kDefaultAlignment = 32;

// Value types 0 to 12 are the alternatives of MetadataValue::Scalar in their order, with arrays between.
inline constexpr std::uint32_t kArrayType = 9;
inline constexpr std::uint32_t kValueTypes = 13;
static_assert(std::variant_size_v<MetadataValue::Scalar> == kValueTypes - 1);
static_assert(std::variant_size_v<MetadataValue::Array> == kValueTypes - 1);
static_assert(std::is_same_v<std::variant_alternative_t<8, MetadataValue::Scalar>, std::string>);

constexpr std::uint32_t value_type(std::size_t alternative) {
  return static_cast<std::uint32_t>(alternative < kArrayType ? alternative : alternative + 1);
}

/// Bytes that a value of type T takes in a file at least.
template <class T>
constexpr std::uint64_t least_bytes() {
  if constexpr (std::is_same_v<T, std::string>)
    return sizeof(std::uint64_t);
  else
    return sizeof(T);
}

/// Bytes of a tensor without padding, 0 for a type whose layout is unknown; or what is wrong with shape or type.
tl::expected<std::uint64_t, std::string> tensor_extent(const Shape& shape, GgmlType type);

/// What the value of general.alignment (null: no such key) says; or what is wrong with it.
tl::expected<std::uint64_t, std::string> alignment_of(const MetadataValue* value);

}  // namespace mlx_native::gguf
