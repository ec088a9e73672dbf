// Arithmetic on sizes that cannot wrap: nullopt instead.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>

namespace mlx_native {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Product of all factors; any range of integers.
template <class Range>
std::optional<std::uint64_t> checked_product(const Range& factors) {
  std::uint64_t product = 1;
  for (const auto factor : factors)
    if (__builtin_mul_overflow(product, std::uint64_t{factor}, &product)) return std::nullopt;
  return product;
}
inline std::optional<std::uint64_t> checked_product(std::initializer_list<std::uint64_t> factors) {
  return checked_product<std::initializer_list<std::uint64_t>>(factors);
}

}  // namespace mlx_native
