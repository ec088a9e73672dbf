// Malformed safetensors files: each ends in an error value that names the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "files/safetensors_state.h"
#include "hostile/expect_cases.h"
#include "hostile/safetensors_cases.h"
#include "hostile/touch.h"

namespace mlx_native::hostile {
namespace {

using detail::SafetensorsAccess;
using ::testing::ElementsAre;

TEST(HostileSafetensors, EveryCaseEndsAsItMust) {
  expect_cases(safetensors_cases(), SafetensorsAccess::from_memory, 2000, 40);
}

TEST(HostileSafetensors, EveryTruncationAndChangedByteIsAnErrorOrAFile) {
  const auto whole = safetensors(kSmallSafetensors, 28);
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(SafetensorsAccess::from_memory({whole.begin(), whole.begin() + std::ptrdiff_t(length)}).has_value())
        << length;
  std::size_t opened = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      auto bytes = whole;
      bytes[at] = static_cast<std::uint8_t>(value);
      const auto file = SafetensorsAccess::from_memory(bytes);
      if (!file) continue;
      ++opened;
      EXPECT_GE(touch(*file), 0) << at;
    }
  }
  EXPECT_GT(opened, 28u * 256);
}

TEST(Safetensors, ListsInOrderOfOffsets) {
  const auto file = SafetensorsAccess::from_memory(safetensors(kSmallSafetensors, 28)).value();
  EXPECT_THAT(file.tensor_names(), ElementsAre("a", "b", "s"));
  EXPECT_EQ(file.metadata("format"), "pt");
  EXPECT_EQ(file.metadata("absent"), std::nullopt);
  const auto* b = file.tensor_info("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->shape, (Shape{2, 3}));
  EXPECT_EQ(b->dtype, DType::BF16);
  EXPECT_EQ(b->dtype_text, "BF16");
  EXPECT_EQ(b->byte_len, 12u);
  EXPECT_EQ(b->offset, 8 + std::string_view(kSmallSafetensors).size() + 8);
  EXPECT_TRUE(file.tensor_info("s")->shape.empty());
  EXPECT_EQ(file.tensor_info("absent"), nullptr);
}

TEST(HostileSafetensors, AHundredThousandTensorsTakeLinearTime) {
  std::string header = "{";
  constexpr std::size_t kCount = 100'000;
  for (std::size_t i = 0; i < kCount; ++i)
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i ? "," : "", i,
                          kCount - 1 - i, kCount - i);
  const auto file = SafetensorsAccess::from_memory(safetensors(header + "}", kCount));
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(file->tensors().front().name, "t99999");
}

}  // namespace
}  // namespace mlx_native::hostile
