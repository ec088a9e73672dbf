// Every decode against a second one, written from the description of the layouts, with ggml's order of operations.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "formats/codec.h"
#include "support/lane.h"

namespace mlx_native {
namespace {

using Bytes = std::vector<std::uint8_t>;

float f16_at(const std::uint8_t* p) {
  const int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(float(1024 + fraction), exponent - 25) : std::ldexp(float(fraction), -24));
}

void plain_f32(const std::uint8_t* b, float* y) { std::memcpy(y, b, 4); }
void plain_f16(const std::uint8_t* b, float* y) { *y = f16_at(b); }
void plain_bf16(const std::uint8_t* b, float* y) {
  const std::uint32_t bits = std::uint32_t{b[0]} << 16 | std::uint32_t{b[1]} << 24;
  std::memcpy(y, &bits, 4);
}

void plain_q4_0(const std::uint8_t* b, float* y) {
  const float d = f16_at(b);
  for (int j = 0; j < 16; ++j) {
    y[j] = float((b[2 + j] & 15) - 8) * d;
    y[j + 16] = float((b[2 + j] >> 4) - 8) * d;
  }
}

void plain_q8_0(const std::uint8_t* b, float* y) {
  for (int j = 0; j < 32; ++j) y[j] = float(std::int8_t(b[2 + j])) * f16_at(b);
}

/// Q4_K, and Q5_K where there are fifth bits: groups come in pairs of 64 values.
void plain_k45(const std::uint8_t* b, const std::uint8_t* fifth, const std::uint8_t* qs, float* y) {
  const float d = f16_at(b), dmin = f16_at(b + 2);
  const std::uint8_t* s = b + 4;
  for (int g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    const int min = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    const float d1 = d * float(scale), m1 = dmin * float(min);
    for (int l = 0; l < 32; ++l) {
      int q = g % 2 ? qs[32 * (g / 2) + l] >> 4 : qs[32 * (g / 2) + l] & 15;
      if (fifth) q += (fifth[l] >> g & 1) * 16;
      y[32 * g + l] = d1 * float(q) - m1;
    }
  }
}
void plain_q4_k(const std::uint8_t* b, float* y) { plain_k45(b, nullptr, b + 16, y); }
void plain_q5_k(const std::uint8_t* b, float* y) { plain_k45(b, b + 16, b + 48, y); }

void plain_q6_k(const std::uint8_t* b, float* y) {
  const float d = f16_at(b + 208);
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t *ql = b + 64 * half, *qh = b + 128 + 32 * half, *scales = b + 192 + 8 * half;
    for (int l = 0; l < 32; ++l) {
      const int q[4] = {(ql[l] & 15) | (qh[l] & 3) << 4, (ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4,
                        ql[l] >> 4 | (qh[l] >> 4 & 3) << 4, ql[l + 32] >> 4 | (qh[l] >> 6) << 4};
      for (int j = 0; j < 4; ++j) {
        y[128 * half + 32 * j + l] = d * float(std::int8_t(scales[l / 16 + 2 * j])) * float(q[j] - 32);
      }
    }
  }
}

struct Plain {
  GgmlType type;
  void (*decode)(const std::uint8_t* block, float* values);
  std::vector<int> halfs;  // where f16 factors lie
};
const Plain kPlain[] = {
    {GgmlType::F32, plain_f32, {}},       {GgmlType::F16, plain_f16, {0}},     {GgmlType::BF16, plain_bf16, {0}},
    {GgmlType::Q4_0, plain_q4_0, {0}},    {GgmlType::Q8_0, plain_q8_0, {0}},   {GgmlType::Q4_K, plain_q4_k, {0, 2}},
    {GgmlType::Q5_K, plain_q5_k, {0, 2}}, {GgmlType::Q6_K, plain_q6_k, {208}},
};

class Decode : public testing::TestWithParam<Plain> {
 protected:
  const Codec& codec() const { return *find_codec(GetParam().type); }

  Bytes random_block() {
    Bytes block(codec().block_bytes);
    for (auto& byte : block) byte = std::uint8_t(random_() >> 24);
    // Factors near one, so that a fault cannot hide behind infinities.
    if (codec().block_values > 1) {
      for (const int at : GetParam().halfs) block[std::size_t(at) + 1] = std::uint8_t(0x38 | (random_() & 0x87));
    }
    return block;
  }

  /// The same bits, or both NaN.
  void expect_same(const Bytes& block, const std::string& what) {
    std::vector<float> expected(codec().block_values, NAN), values(codec().block_values, NAN);
    GetParam().decode(block.data(), expected.data());
    codec().decode(block.data(), 1, values.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(values[i])) continue;
      ASSERT_EQ(std::memcmp(&values[i], &expected[i], 4), 0)
          << what << ": value " << i << " is " << values[i] << ", expected " << expected[i];
    }
  }

  std::mt19937 random_{1};
};

TEST_P(Decode, EveryByteTakesEveryValue) {
  Bytes block = random_block();
  for (std::size_t at = 0; at < block.size(); ++at) {
    block = random_block();
    for (int byte = 0; byte < 256; ++byte) {
      block[at] = std::uint8_t(byte);
      expect_same(block, "byte " + std::to_string(at) + " = " + std::to_string(byte));
    }
  }
}

TEST_P(Decode, EveryHalfTakesEveryValue) {
  for (const int at : GetParam().halfs) {
    Bytes block = random_block();
    for (int bits = 0; bits < 65536; bits += test::kSlow ? 53 : 1) {
      block[std::size_t(at)] = std::uint8_t(bits);
      block[std::size_t(at) + 1] = std::uint8_t(bits >> 8);
      expect_same(block, "f16 " + std::to_string(bits) + " at " + std::to_string(at));
    }
  }
}

TEST_P(Decode, ManyBlocksAtAnyAddress) {
  constexpr std::size_t kBlocks = 1237;  // more than a chunk of any format, and a tail
  const std::size_t bytes = codec().block_bytes, n = codec().block_values;
  for (const std::size_t shift : {0u, 1u, 3u}) {
    Bytes blocks(shift + kBlocks * bytes);
    for (auto& byte : blocks) byte = std::uint8_t(random_() >> 24);
    std::vector<float> values(kBlocks * n + 1, 123.0f), expected(n);
    codec().decode(blocks.data() + shift, kBlocks, values.data());
    for (std::size_t b = 0; b < kBlocks; ++b) {
      GetParam().decode(blocks.data() + shift + b * bytes, expected.data());
      for (std::size_t i = 0; i < n; ++i) {
        if (std::isnan(expected[i]) && std::isnan(values[b * n + i])) continue;
        ASSERT_EQ(std::memcmp(&values[b * n + i], &expected[i], 4), 0) << "block " << b << ", value " << i;
      }
    }
    EXPECT_EQ(values.back(), 123.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Decode, testing::ValuesIn(kPlain),
                         [](const auto& info) { return std::string(ggml_type_name(info.param.type)); });

}  // namespace
}  // namespace mlx_native
