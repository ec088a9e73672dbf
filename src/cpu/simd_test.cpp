// The SIMD vocabulary of each ISA that this machine runs, beside scalars.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/cpu_features.h"
#include "core/dialect.h"
#include "core/f16.h"
#include "cpu/simd/probe.h"

namespace mlx_native::cpu {
namespace {

std::vector<SimdProbe> probes() {
  std::vector<SimdProbe> all;
#define MLXN_ISA_PROBE(isa) \
  if (cpu_features().isa) all.push_back(isa::probe());
  MLXN_ISAS(MLXN_ISA_PROBE)
#undef MLXN_ISA_PROBE
  return all;
}

class Simd : public testing::TestWithParam<SimdProbe> {};
INSTANTIATE_TEST_SUITE_P(Isas, Simd, testing::ValuesIn(probes()),
                         [](const auto& info) { return std::string(info.param.isa); });

std::vector<float> steps(float from, float to, float step) {
  std::vector<float> values;
  for (float x = from; x <= to; x += step) values.push_back(x);
  return values;
}

std::vector<float> apply(void (*f)(const float*, float*, int), const std::vector<float>& x) {
  std::vector<float> y(x.size(), NAN);
  f(x.data(), y.data(), static_cast<int>(x.size()));
  return y;
}

TEST_P(Simd, ExpIsAccurateAndTotal) {
  const std::vector<float> x = steps(-87, 88.7f, 0.0137f), y = apply(GetParam().exp, x);
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_LE(std::abs(y[i] / std::exp(double{x[i]}) - 1), 2e-7) << GetParam().isa << " " << x[i];
  const std::vector<float> ends = apply(GetParam().exp, {-INFINITY, -200, -104, 89, 1000, INFINITY, NAN, 0, -0.0f});
  EXPECT_EQ(std::vector(ends.begin(), ends.begin() + 3), std::vector(3, 0.0f));
  EXPECT_EQ(std::vector(ends.begin() + 3, ends.begin() + 6), std::vector(3, INFINITY));
  EXPECT_TRUE(std::isnan(ends[6]));
  EXPECT_EQ(ends[7], 1);
  EXPECT_EQ(ends[8], 1);
  const std::vector<float> small = steps(-103.5f, -87, 0.11f), subnormal = apply(GetParam().exp, small);
  for (std::size_t i = 0; i < small.size(); ++i)
    EXPECT_NEAR(subnormal[i], std::exp(double{small[i]}), 0x1p-149 + 2e-7 * std::exp(double{small[i]}));
}

TEST_P(Simd, TanhAndErf) {
  const std::vector<float> x = steps(-12, 12, 0.0031f), t = apply(GetParam().tanh, x), e = apply(GetParam().erf, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(t[i], std::tanh(double{x[i]}), 1e-6 * std::abs(std::tanh(double{x[i]})) + 1e-12) << x[i];
    ASSERT_NEAR(e[i], std::erf(double{x[i]}), 3e-7) << x[i];
  }
  for (auto* f : {GetParam().tanh, GetParam().erf}) {
    const std::vector<float> y = apply(f, {-INFINITY, INFINITY, NAN, 1e30f, -1e30f});
    EXPECT_EQ(y[0], -1);
    EXPECT_EQ(y[1], 1);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], 1);
    EXPECT_EQ(y[4], -1);
  }
}

TEST_P(Simd, PartsOfVectorsTouchNothingElse) {
  for (int n = 1; n <= 3 * 16; ++n) {
    std::vector<float> x(n), y(n + 16, 7.0f);
    for (int i = 0; i < n; ++i) x[i] = static_cast<float>(i) - 5.5f;
    GetParam().round_trip(x.data(), y.data(), n);
    for (int i = 0; i < n; ++i) EXPECT_EQ(y[i], x[i]);
    for (int i = n; i < n + 16; ++i) EXPECT_EQ(y[i], 7.0f) << n;
  }
}

TEST_P(Simd, EveryHalfAndBfloatIsExact) {
  std::vector<std::uint16_t> bits(65536 + 3);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  std::vector<float> values(bits.size(), 1.0f);
  GetParam().half_to_float(bits.data(), values.data(), static_cast<int>(bits.size()));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const float wanted = half_to_float(bits[i]);
    ASSERT_TRUE(std::isnan(wanted) ? std::isnan(values[i]) : float_to_bits(values[i]) == float_to_bits(wanted)) << i;
  }
  std::array<float, 16> lanes;
  for (std::size_t i = 0; i + 16 <= bits.size(); i += 16) {
    GetParam().bfloat_to_float(&bits[i], lanes.data(), 16);
    for (int j = 0; j < GetParam().lanes; ++j) ASSERT_EQ(float_to_bits(lanes[j]), std::uint32_t{bits[i + j]} << 16);
  }
}

TEST_P(Simd, HalfsRoundToNearestEven) {
  std::vector<float> x{0.0f, -0.0f, 65504, 65519.996f, 65520, 1e30f, -INFINITY, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f};
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const float v = bits_to_float(random());
    if (!std::isnan(v)) x.push_back(v);
    // Halfway between two halfs, and beside it.
    const float middle = bits_to_float(((0x38000000u + random() % 0x0f000000u) & 0xffffe000u) | 0x1000u);
    x.insert(x.end(), {middle, std::nextafter(middle, 1e9f), std::nextafter(middle, 0.0f)});
  }
  std::vector<std::uint16_t> got(x.size());
  GetParam().float_to_half(x.data(), got.data(), static_cast<int>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(got[i], float_to_half(x[i])) << x[i];
}

TEST_P(Simd, SumsHaveOneOrder) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal(0, 1000);
  const int lanes = GetParam().lanes;
  for (int round = 0; round < 800; ++round) {
    std::vector<float> fold(lanes);
    for (float& v : fold) v = normal(random);
    EXPECT_EQ(GetParam().max_lane(fold.data()), *std::max_element(fold.begin(), fold.end()));
    const float sum = GetParam().sum(fold.data());
    for (int half = lanes / 2; half >= 4; half /= 2)
      for (int j = 0; j < half; ++j) fold[j] += fold[j + half];
    EXPECT_EQ(sum, (fold[0] + fold[1]) + (fold[2] + fold[3]));
  }
}

TEST_P(Simd, ReadsCodes) {
  std::mt19937 random(9);
  for (int round = 0; round < 500; ++round) {
    std::array<std::uint8_t, 16> codes, table, out;
    for (int i = 0; i < 16; ++i)
      codes[i] = static_cast<std::uint8_t>(random()), table[i] = static_cast<std::uint8_t>(random());
    std::array<float, 16> values;
    GetParam().to_run(codes.data(), values.data());
    for (int i = 0; i < 16; ++i) EXPECT_EQ(values[i], codes[i]);

    const std::uint32_t bits = random() & 0xffff;
    GetParam().spread(bits, out.data());
    for (int i = 0; i < 16; ++i) EXPECT_EQ(out[i], bits >> i & 1);

    const int right = static_cast<int>(random() % 8);
    GetParam().shift(codes.data(), right, out.data());
    for (int word = 0; word < 4; ++word) {
      std::uint32_t before, after;
      std::memcpy(&before, &codes[4 * word], 4);
      std::memcpy(&after, &out[4 * word], 4);
      EXPECT_EQ(after, before >> right);
    }

    for (std::uint8_t& code : codes) code &= 15;
    GetParam().lookup(table.data(), codes.data(), out.data());
    for (int i = 0; i < 16; ++i) EXPECT_EQ(out[i], table[codes[i]]);

    const std::uint32_t low = random(), high = random();
    std::array<float, 8> eight;
    GetParam().signed_bytes(low, high, eight.data());
    for (int i = 0; i < 8; ++i) EXPECT_EQ(eight[i], static_cast<std::int8_t>((i < 4 ? low : high) >> 8 * (i % 4)));
  }
}

}  // namespace
}  // namespace mlx_native::cpu
