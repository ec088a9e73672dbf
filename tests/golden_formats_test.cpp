// Our decodes and encoders against ggml's own, for every weight format that the golden file has.
#include <gtest/gtest.h>
#include <mlx_native/gguf.h>
#include <mlx_native/quantize.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace mlx_native {
namespace {

const GgufFile& golden() {
  static const GgufFile file = GgufFile::open(MLXN_SOURCE_DIR "/tests/golden/formats.gguf").value();
  return file;
}

std::span<const std::uint8_t> bytes_of(const std::string& name) { return golden().tensor_bytes(name).value(); }

std::vector<float> floats_of(const std::string& name) {
  const auto bytes = bytes_of(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

double weighted_rmse(std::span<const float> a, std::span<const float> b, std::span<const float> weights) {
  double sum = 0, total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double e = double{a[i]} - double{b[i]}, w = weights.empty() ? 1.0 : double{weights[i]};
    sum += w * e * e;
    total += w;
  }
  return std::sqrt(sum / total);
}

class GoldenFormat : public testing::TestWithParam<GgmlType> {
 protected:
  void SetUp() override {
    name_ = ggml_type_name(GetParam());
    if (!golden().tensor_info(name_ + ".weight")) GTEST_SKIP() << "the golden file has no " << name_;
  }
  std::string name_;
};

TEST_P(GoldenFormat, DecodesToTheSameBits) {
  ASSERT_EQ(golden().tensor_info(name_ + ".weight")->ggml_type, GetParam());
  const auto expected = floats_of(name_ + ".dequantized");
  std::vector<float> values(expected.size(), NAN);
  ASSERT_TRUE(dequantize(GetParam(), bytes_of(name_ + ".weight"), values).has_value());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(std::memcmp(&values[i], &expected[i], sizeof(float)), 0)
        << "value " << i << " is " << values[i] << ", ggml decodes " << expected[i];
  }
}

/// Error of our encoding without importance over that of ggml's that the search reaches, with a margin of half a
/// percent.
double reached(const std::string& name) {
  if (name == "q4_0") return 0.957;
  if (name == "q8_0") return 0.930;
  if (name == "q4_K") return 0.973;
  if (name == "q5_K") return 0.948;
  if (name == "q6_K") return 0.934;
  return 1.0;
}

// The ratios are recorded: `--gtest_output=xml` shows them.
TEST_P(GoldenFormat, EncodesAtLeastAsWellAsGgml) {
  const auto original = floats_of(name_ + ".original"), theirs = floats_of(name_ + ".dequantized");
  std::mt19937 random(7);
  std::vector<std::vector<float>> importances(3);
  for (const float spread : {1.0f, 3.0f}) {
    std::vector<float>& weights = importances[spread == 1.0f ? 1 : 2];
    for (std::size_t i = 0; i < original.size(); ++i) {
      // Sums of uniform numbers, whose bits no library chooses.
      weights.push_back(std::exp(spread * (float(random() >> 8) + float(random() >> 8) - 0x1p24f) * 0x1p-23f));
    }
  }
  for (std::size_t i = 0; i < importances.size(); ++i) {
    const auto blocks = quantize(GetParam(), original, importances[i]);
    ASSERT_TRUE(blocks.has_value()) << blocks.error().message;
    const auto ours = dequantize(GetParam(), *blocks).value();
    const double mine = weighted_rmse(ours, original, importances[i]);
    const double peer = weighted_rmse(theirs, original, importances[i]);
    EXPECT_LE(mine, i == 0 ? reached(name_) * peer : peer) << "importance " << i;
    RecordProperty("error_ratio_" + std::to_string(i), std::to_string(peer > 0 ? mine / peer : 1.0));
  }
}

/// F32 stands in the file only as the input.
std::vector<GgmlType> encoded_formats() {
  std::vector<GgmlType> types(weight_formats().begin(), weight_formats().end());
  std::erase(types, GgmlType::F32);
  return types;
}
INSTANTIATE_TEST_SUITE_P(Formats, GoldenFormat, testing::ValuesIn(encoded_formats()),
                         [](const auto& info) { return std::string(ggml_type_name(info.param)); });

TEST(GoldenFormats, TheFileHasTheEightFirst) {
  for (const char* name : {"q4_0", "q8_0", "q4_K", "q5_K", "q6_K", "f16", "bf16"}) {
    EXPECT_NE(golden().tensor_info(std::string(name) + ".weight"), nullptr) << name;
  }
  EXPECT_EQ(golden().tensor_info("input")->ggml_type, GgmlType::F32);
}

}  // namespace
}  // namespace mlx_native
