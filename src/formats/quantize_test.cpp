#include "mlx_native/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

namespace mlx_native {
namespace {

constexpr std::size_t kCount = 2048;

/// Sums of uniform numbers, near normal with variance 1: the same on any machine.
std::vector<float> random_values(unsigned seed, std::size_t count = kCount, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) {
    v = 0;
    for (int i = 0; i < 12; ++i) v += float(random() >> 8) * 0x1p-24f;
    v = (v - 6.0f) * scale;
  }
  return values;
}

double rms(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return std::sqrt(sum / double(a.size()));
}

class Quantize : public testing::TestWithParam<GgmlType> {
 protected:
  std::vector<std::uint8_t> encode(std::span<const float> values, std::span<const float> importance = {}) {
    auto blocks = quantize(GetParam(), values, importance);
    EXPECT_TRUE(blocks.has_value()) << blocks.error().message;
    return blocks.value();
  }
  std::vector<float> round_trip(std::span<const float> values, std::span<const float> importance = {}) {
    return dequantize(GetParam(), encode(values, importance)).value();
  }
  double bits_per_value() const { return 8.0 * layout_.block_bytes / layout_.block_values; }

  const GgmlLayout layout_ = *ggml_layout(GetParam());
};

TEST_P(Quantize, ErrorIsThatOfItsBits) {
  for (const float scale : {1.0f, 0.02f}) {
    const auto values = random_values(1, kCount, scale);
    // A uniform quantizer of b bits over the range of 32 normal values, about 4.1 sigma: 4.1 / 2^b / sqrt(12).
    // The factor is what a symmetric format loses; formats of 16 bits and more round to 8 bits of significand at least.
    // Factors take half a bit to one.
    const double bits = std::min(std::ceil(bits_per_value()) - 1, 9.0);
    EXPECT_LE(rms(round_trip(values), values), 1.15 * double{scale} * 4.1 / std::exp2(bits) / std::sqrt(12.0));
  }
}

TEST_P(Quantize, ZerosStayPositiveZeros) {
  for (const float zero : {0.0f, -0.0f}) {
    for (const float v : round_trip(std::vector<float>(512, zero))) {
      ASSERT_EQ(v, 0.0f);
      ASSERT_FALSE(layout_.block_values > 1 && std::signbit(v));
    }
  }
}

TEST_P(Quantize, ConstantsAreNearlyExact) {
  // The factor is a subnormal half where scale and code are large.
  const float near = GetParam() == GgmlType::IQ4_XS ? 1e-2f : 4e-3f;
  for (const float c : {1.0f, -1.0f, 3.14159f, -0.01f, 1000.0f}) {
    for (const float v : round_trip(std::vector<float>(256, c))) ASSERT_NEAR(v, c, std::fabs(c) * near) << c;
  }
}

TEST_P(Quantize, AnyMagnitudeStaysFinite) {
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const float unit = std::ldexp(1.0f, exponent);
    auto values = random_values(unsigned(exponent + 200), 256, 0.2f);
    for (float& v : values) v *= unit;
    values[17] = -unit;
    for (const float v : round_trip(values)) ASSERT_TRUE(std::isfinite(v)) << "2^" << exponent;
  }
  for (const float extreme : {std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> values(256, extreme);
    for (std::size_t i = 0; i < values.size(); i += 3) values[i] = -extreme;
    for (const float v : round_trip(values)) ASSERT_TRUE(std::isfinite(v)) << extreme;
    values.assign(256, 0.0f);
    values[5] = extreme;
    for (const float v : round_trip(values)) ASSERT_TRUE(std::isfinite(v)) << extreme;
  }
}

TEST_P(Quantize, ScalesBeyondTheRangeSaturateWithTheRightSign) {
  std::vector<float> values(256, 3e38f);
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] = -3e38f;
  const auto decoded = round_trip(values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(std::signbit(decoded[i]), std::signbit(values[i]));
    ASSERT_GT(std::fabs(decoded[i]), 6e4f);
  }
}

TEST_P(Quantize, SmallScalesKeepWhatTheFormatCanHold) {
  // Factors here are subnormal halfs, so scales are coarse: at most half the smallest step that the format has there,
  // or of formats with few codes what they lose anyway.
  const auto values = random_values(3, 256, 2e-6f);
  const auto decoded = round_trip(values);
  EXPECT_LT(rms(decoded, values), 2e-6 * (bits_per_value() < 3 ? 0.3 : 0.2));
}

TEST_P(Quantize, TheSmallestHalfIsNotLost) {
  if (GetParam() == GgmlType::IQ4_NL || GetParam() == GgmlType::IQ4_XS)
    GTEST_SKIP() << "its codes are ten times the scale apart";
  if (bits_per_value() < 3) GTEST_SKIP() << "it has fewer codes than there are values here";
  std::vector<float> values(256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0x1p-24f * float(int(i % 7) - 3);
  EXPECT_LT(rms(round_trip(values), values), 0x1p-26);
}

TEST_P(Quantize, PowersOfTwoScaleTheResult) {
  const auto values = random_values(4, 512, 0.5f);
  const auto decoded = round_trip(values);
  for (const float factor : {0.25f, 16.0f}) {
    auto scaled = values;
    for (float& v : scaled) v *= factor;
    const auto decoded_scaled = round_trip(scaled);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(decoded_scaled[i], decoded[i] * factor);
  }
}

TEST_P(Quantize, BlocksAreIndependent) {
  const auto values = random_values(5);
  const auto whole = encode(values);
  std::vector<std::uint8_t> pieces;
  for (std::size_t at = 0; at < kCount; at += layout_.block_values) {
    const auto block = encode(std::span(values).subspan(at, layout_.block_values));
    pieces.insert(pieces.end(), block.begin(), block.end());
  }
  EXPECT_EQ(whole, pieces);
}

TEST_P(Quantize, OffsetsOnEitherSideCostLittle) {
  // Narrow bands far from zero, as norm weights are: formats with offsets must use them.
  for (const float centre : {1.0f, -1.0f}) {
    auto values = random_values(6, 512, 0.02f);
    for (float& v : values) v += centre;
    const auto decoded = round_trip(values);
    const auto spread = rms(decoded, values);
    const bool offsets = GetParam() == GgmlType::Q4_1 || GetParam() == GgmlType::Q5_1 || GetParam() == GgmlType::Q4_K ||
                         GetParam() == GgmlType::Q5_K;
    EXPECT_LT(spread, offsets ? 0.01 : 0.04) << centre;
  }
}

TEST_P(Quantize, ImportanceLowersTheWeightedError) {
  if (layout_.block_values == 1) return;
  const auto values = random_values(7);
  auto weights = random_values(8);
  for (float& w : weights) w = std::exp(2 * w);
  const auto error = [&](std::span<const float> decoded) {
    double sum = 0;
    for (std::size_t i = 0; i < kCount; ++i) sum += weights[i] * std::pow(double{decoded[i]} - values[i], 2);
    return sum;
  };
  EXPECT_LT(error(round_trip(values, weights)), 0.9 * error(round_trip(values)));
}

TEST_P(Quantize, EqualImportanceIsNone) {
  const auto values = random_values(9);
  const auto plain = encode(values);
  for (const float weight : {0.0f, 1e-30f, 7.0f, 1e38f}) {
    EXPECT_EQ(encode(values, std::vector<float>(kCount, weight)), plain) << weight;
  }
}

TEST_P(Quantize, UnimportantOutliersAreClipped) {
  if (layout_.block_values == 1) return;
  auto values = random_values(10, 512);
  std::vector<float> weights(512, 1.0f);
  for (std::size_t i = 0; i < 512; i += 32) {
    values[i] = i % 64 ? 12.0f : -12.0f;
    weights[i] = 0.0f;
  }
  const auto with = round_trip(values, weights), without = round_trip(values);
  double error_with = 0, error_without = 0;
  for (std::size_t i = 0; i < 512; ++i) {
    error_with += weights[i] * std::pow(double{with[i]} - values[i], 2);
    error_without += weights[i] * std::pow(double{without[i]} - values[i], 2);
  }
  EXPECT_LT(error_with, 0.5 * error_without);
}

TEST_P(Quantize, BadInputIsAnError) {
  const std::size_t n = layout_.block_values;
  const std::vector<float> good(2 * n, 1.0f);
  const auto kind = [](const auto& result) { return result.has_value() ? ErrorKind::IoError : result.error().kind; };
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    auto values = good;
    values.back() = bad;
    EXPECT_EQ(kind(quantize(GetParam(), values)), ErrorKind::InvalidArgument);
  }
  for (const float bad : {-1.0f, INFINITY, NAN}) {
    auto weights = good;
    weights.back() = bad;
    EXPECT_EQ(kind(quantize(GetParam(), good, weights)), ErrorKind::InvalidArgument);
  }
  EXPECT_EQ(kind(quantize(GetParam(), good, std::span(good).first(n))), ErrorKind::InvalidArgument);
  const std::vector<std::uint8_t> blocks(2 * layout_.block_bytes);
  std::vector<float> room(2 * n + 1);
  EXPECT_EQ(kind(dequantize(GetParam(), std::span(blocks).first(2 * layout_.block_bytes - 1))),
            ErrorKind::InvalidArgument);
  EXPECT_EQ(kind(dequantize(GetParam(), blocks, room)), ErrorKind::InvalidArgument);
  EXPECT_TRUE(dequantize(GetParam(), blocks, std::span(room).first(2 * n)).has_value());
  if (n > 1) {
    EXPECT_EQ(kind(quantize(GetParam(), std::span(good).first(n + 1))), ErrorKind::InvalidArgument);
  }
}

TEST_P(Quantize, NothingGivesNothing) {
  EXPECT_TRUE(encode({}).empty());
  EXPECT_TRUE(dequantize(GetParam(), {})->empty());
}

INSTANTIATE_TEST_SUITE_P(Formats, Quantize, testing::ValuesIn(weight_formats().begin(), weight_formats().end()),
                         [](const auto& info) { return std::string(ggml_type_name(info.param)); });

TEST(QuantizeTypes, OthersAreUnsupported) {
  const std::vector<float> values(256);
  const std::vector<std::uint8_t> blocks(292);
  for (const GgmlType type : {GgmlType::Q8_K, GgmlType::I32, GgmlType{77}}) {
    const auto encoded = quantize(type, values);
    ASSERT_FALSE(encoded.has_value());
    EXPECT_EQ(encoded.error().kind, ErrorKind::UnsupportedDtype);
    EXPECT_NE(encoded.error().message.find(std::to_string(std::uint32_t(type))), std::string::npos);
    const auto decoded = dequantize(type, blocks);
    ASSERT_FALSE(decoded.has_value());
    EXPECT_EQ(decoded.error().kind, ErrorKind::UnsupportedDtype);
  }
}

}  // namespace
}  // namespace mlx_native
