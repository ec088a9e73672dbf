#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "mlx_native/gguf.h"

namespace mlx_native {

namespace {

template <class To>
std::optional<To> as_integer(const MetadataValue& value) {
  const auto* scalar = std::get_if<MetadataValue::Scalar>(&value.value);
  if (!scalar) return std::nullopt;
  return std::visit(
      [](const auto& held) -> std::optional<To> {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (std::in_range<To>(held)) return static_cast<To>(held);
        }
        return std::nullopt;
      },
      *scalar);
}

template <class T>
const T* held(const MetadataValue& value) {
  const auto* scalar = std::get_if<MetadataValue::Scalar>(&value.value);
  return scalar ? std::get_if<T>(scalar) : nullptr;
}

}  // namespace

std::optional<std::uint64_t> MetadataValue::as_u64() const { return as_integer<std::uint64_t>(*this); }
std::optional<std::int64_t> MetadataValue::as_i64() const { return as_integer<std::int64_t>(*this); }
std::optional<std::uint32_t> MetadataValue::as_u32() const { return as_integer<std::uint32_t>(*this); }

std::optional<float> MetadataValue::as_f32() const {
  if (const auto* number = held<float>(*this)) return *number;
  if (const auto* number = held<double>(*this)) return static_cast<float>(*number);
  if (const auto number = as_i64()) return static_cast<float>(*number);
  if (const auto number = as_u64()) return static_cast<float>(*number);
  return std::nullopt;
}

std::optional<bool> MetadataValue::as_bool() const {
  const auto* flag = held<bool>(*this);
  return flag ? std::optional(*flag) : std::nullopt;
}

const std::string* MetadataValue::as_string() const { return held<std::string>(*this); }

std::optional<std::size_t> MetadataValue::array_size() const {
  const auto* array = std::get_if<Array>(&value);
  if (!array) return std::nullopt;
  return std::visit([](const auto& elements) { return elements.size(); }, *array);
}

}  // namespace mlx_native
