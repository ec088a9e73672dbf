// Random test data, counter-based: the same on every machine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

#include "core/random.h"

namespace mlx_native::test {

enum class Data { Normal, Outliers, Zeros, OneSided };
inline constexpr Data kAllData[] = {Data::Normal, Data::Outliers, Data::Zeros, Data::OneSided};

class Random {
 public:
  explicit Random(std::uint64_t seed) : seed_(seed) {}
  std::uint64_t bits() { return random_bits(seed_, step_++); }
  std::uint32_t below(std::uint64_t n) { return static_cast<std::uint32_t>(scale_bits(bits(), n)); }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  float normal() {
    const double r = std::sqrt(-2 * std::log(1 - unit()));
    return static_cast<float>(r * std::cos(2 * std::numbers::pi * unit()));
  }
  std::vector<float> values(std::size_t n, Data kind = Data::Normal) {
    std::vector<float> v(n);
    for (float& x : v) {
      x = normal();
      if (kind == Data::Outliers && below(64) == 0) x *= 100;
      if (kind == Data::Zeros && below(3) != 0) x = 0;
      if (kind == Data::OneSided) x = -std::fabs(x);
    }
    if (kind == Data::Zeros) std::fill_n(v.begin(), n / 2, 0.0f);
    return v;
  }
  std::vector<std::uint8_t> bytes(std::size_t n) {
    std::vector<std::uint8_t> v(n);
    for (std::uint8_t& x : v) x = static_cast<std::uint8_t>(bits());
    return v;
  }
  std::vector<std::uint32_t> ids(std::size_t n, std::uint64_t limit) {
    std::vector<std::uint32_t> v(n);
    for (std::uint32_t& x : v) x = below(limit);
    return v;
  }

 private:
  std::uint64_t seed_, step_ = 0;
};

}  // namespace mlx_native::test
