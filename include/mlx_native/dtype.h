#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

namespace [[gnu::visibility("default")]] mlx_native {

/// Element type of a buffer. Quantized blocks travel as U8.
enum class DType { F32, F16, BF16, U8, U16, U32, I32, I8, I16, I64, U64, F64 };

/// Bytes of one element.
std::size_t dtype_size(DType dtype);

/// Lower-case name: "f32".
std::string_view dtype_name(DType dtype);

/// Extents, outermost first.
using Shape = std::vector<std::size_t>;

/// Whether elements of `dtype` may be viewed as T. F16 and BF16 are viewed as std::uint16_t, and std::byte views
/// anything.
template <class T>
constexpr bool dtype_holds(DType dtype) {
  if constexpr (std::is_same_v<T, std::byte>) return true;
  switch (dtype) {
    case DType::F32: return std::is_same_v<T, float>;
    case DType::F64: return std::is_same_v<T, double>;
    case DType::F16:
    case DType::BF16:
    case DType::U16: return std::is_same_v<T, std::uint16_t>;
    case DType::U8: return std::is_same_v<T, std::uint8_t>;
    case DType::U32: return std::is_same_v<T, std::uint32_t>;
    case DType::U64: return std::is_same_v<T, std::uint64_t>;
    case DType::I8: return std::is_same_v<T, std::int8_t>;
    case DType::I16: return std::is_same_v<T, std::int16_t>;
    case DType::I32: return std::is_same_v<T, std::int32_t>;
    case DType::I64: return std::is_same_v<T, std::int64_t>;
  }
  return false;
}

}  // namespace mlx_native
