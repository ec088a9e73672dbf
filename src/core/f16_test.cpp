#include "core/f16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mlx_native {
namespace {

/// Definition of binary16: sign, five bits of exponent, ten of fraction.
float half_by_definition(uint32_t bits) {
  const int exponent = int(bits >> 10 & 31), fraction = int(bits & 1023);
  const float sign = bits & 0x8000u ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(float(1024 + fraction), exponent - 25) : std::ldexp(float(fraction), -24));
}

TEST(Half, EveryPatternDecodes) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = half_to_float(uint16_t(bits)), expected = half_by_definition(bits);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value)))) << bits;
    } else {
      EXPECT_EQ(float_to_bits(value), float_to_bits(expected)) << bits;
      EXPECT_EQ(float_to_half(value), bits);
    }
  }
}

TEST(Half, RoundsToNearestAndTiesToEven) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    // Infinity stands for the number that would follow the largest.
    const float low = half_by_definition(bits), high = bits == 0x7bff ? 65536.0f : half_by_definition(bits + 1);
    const float middle = low + (high - low) / 2;
    for (const uint32_t sign : {0u, 0x8000u}) {
      const float s = sign ? -1.0f : 1.0f;
      EXPECT_EQ(float_to_half(s * middle), sign | (bits % 2 ? bits + 1 : bits));
      EXPECT_EQ(float_to_half(s * std::nextafter(middle, 0.0f)), sign | bits);
      EXPECT_EQ(float_to_half(s * std::nextafter(middle, INFINITY)), sign | (bits + 1));
    }
  }
  EXPECT_EQ(float_to_half(INFINITY), 0x7c00);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Bfloat, RoundsToNearestAndTiesToEven) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    EXPECT_EQ(float_to_bits(bfloat_to_float(uint16_t(bits))), bits << 16);
    const uint32_t low = bits << 16, middle = low | 0x8000u;
    for (const uint32_t sign : {0u, 0x8000u}) {
      const auto round = [&](uint32_t f) { return float_to_bfloat(bits_to_float(f | sign << 16)); };
      EXPECT_EQ(round(low), sign | bits);
      EXPECT_EQ(round(middle), sign | (bits % 2 ? bits + 1 : bits));
      EXPECT_EQ(round(middle - 1), sign | bits);
      EXPECT_EQ(round(middle + 1), sign | (bits + 1));
    }
  }
  EXPECT_EQ(float_to_bfloat(INFINITY), 0x7f80);
  // A payload in the low half alone must not become infinity.
  EXPECT_TRUE(std::isnan(bfloat_to_float(float_to_bfloat(bits_to_float(0x7f800001u)))));
}

TEST(FiniteRounding, Saturates) {
  for (const float huge : {65519.9f, 65520.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(float_to_finite_half(huge), 0x7bff);
    EXPECT_EQ(float_to_finite_half(-huge), 0xfbff);
  }
  EXPECT_EQ(float_to_finite_half(1.0f), 0x3c00);
  EXPECT_EQ(float_to_finite_bfloat(std::numeric_limits<float>::max()), 0x7f7f);
  EXPECT_EQ(float_to_finite_bfloat(-INFINITY), 0xff7f);
  EXPECT_EQ(float_to_finite_bfloat(1.0f), 0x3f80);
}

}  // namespace
}  // namespace mlx_native
