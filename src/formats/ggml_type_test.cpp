#include "mlx_native/ggml_type.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mlx_native {
namespace {

TEST(GgmlType, NamesAndLayoutsGoBothWays) {
  int known = 0;
  for (std::uint32_t id = 0; id < 64; ++id) {
    const GgmlType type{id};
    const auto layout = ggml_layout(type);
    if (!layout) {
      EXPECT_EQ(ggml_type_name(type), "unknown") << id;
      continue;
    }
    ++known;
    EXPECT_EQ(ggml_type_name(type), layout->name);
    EXPECT_EQ(ggml_type_from_name(layout->name), type);
    EXPECT_GT(layout->block_values, 0u);
    EXPECT_GT(layout->block_bytes, 0u);
  }
  EXPECT_EQ(known, 35);
}

TEST(GgmlType, RemovedAndUnknownNumbersHaveNoLayout) {
  for (std::uint32_t id : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 43u, 77u, 0xffffffffu}) {
    EXPECT_EQ(ggml_layout(GgmlType{id}), std::nullopt) << id;
    EXPECT_FALSE(is_weight_format(GgmlType{id})) << id;
  }
}

TEST(GgmlType, NamesIgnoreCase) {
  EXPECT_EQ(ggml_type_from_name("Q4_K"), GgmlType::Q4_K);
  EXPECT_EQ(ggml_type_from_name("q4_k"), GgmlType::Q4_K);
  EXPECT_EQ(ggml_type_from_name("BF16"), GgmlType::BF16);
  EXPECT_EQ(ggml_type_from_name("IQ2_xxs"), GgmlType::IQ2_XXS);
  for (const char* name : {"", "q4", "q4_K ", "q4_kk", "unknown"}) EXPECT_EQ(ggml_type_from_name(name), std::nullopt);
}

TEST(GgmlType, WeightFormatsAreOrderedAndKnown) {
  const auto formats = weight_formats();
  EXPECT_TRUE(std::ranges::is_sorted(formats));
  for (const char* name : {"f32", "f16", "bf16", "q4_0", "q8_0", "q4_K", "q5_K", "q6_K"}) {
    EXPECT_TRUE(is_weight_format(*ggml_type_from_name(name))) << name;
  }
  EXPECT_EQ(std::ranges::count_if(formats, [](GgmlType t) { return ggml_layout(t).has_value(); }), std::ssize(formats));
  EXPECT_FALSE(is_weight_format(GgmlType::I32));
  EXPECT_FALSE(is_weight_format(GgmlType::Q8_K));
}

}  // namespace
}  // namespace mlx_native
