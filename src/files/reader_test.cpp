#include "files/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "files/text.h"

namespace mlx_native {
namespace {

using ::testing::HasSubstr;

TEST(Reader, TakesNumbersAndStrings) {
  const std::array<std::uint8_t, 17> bytes{1, 2, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b'};
  Reader reader(bytes);
  EXPECT_EQ(reader.take<std::uint8_t>(), 1);
  EXPECT_EQ(reader.take<std::uint16_t>(), 2);
  EXPECT_EQ(reader.take<std::int32_t>(), -1);
  EXPECT_EQ(reader.take_string(2), "ab");
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(Reader, TheFirstFailureSticks) {
  const std::array<std::uint8_t, 3> bytes{1, 2, 3};
  Reader reader(bytes);
  EXPECT_EQ(reader.take<std::uint8_t>(), 1);
  EXPECT_EQ(reader.take<std::uint32_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.failure(), "byte 1: 4 bytes are needed, 2 are left");
  EXPECT_EQ(reader.take<std::uint8_t>(), 0) << "though there is a byte";
  reader.fail("another");
  EXPECT_THAT(reader.failure(), HasSubstr("4 bytes are needed"));
}

TEST(Reader, CountsMustFit) {
  const std::array<std::uint8_t, 14> bytes{3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6};
  EXPECT_EQ(Reader(bytes).take_count("things", 3, 2), 3u);
  Reader many(bytes), large(bytes);
  EXPECT_EQ(many.take_count("things", 2, 2), 0u);
  EXPECT_THAT(many.failure(), HasSubstr("3 things, at most 2"));
  EXPECT_EQ(large.take_count("things", 3, 3), 0u);
  EXPECT_THAT(large.failure(), HasSubstr("3 things do not fit into the 6 bytes"));
}

TEST(Text, KnowsUtf8) {
  for (const char* good : {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbf",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(good)) << shown(good);
  for (const char* bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2",
                          "\xc2"
                          "a",
                          "\xe0\x9f\xbf", "\xe1\x80", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                          "\xf8\x88\x80\x80\x80", "\xfe", "\xff",
                          "a\xff"
                          "b"})
    EXPECT_FALSE(is_utf8(bad)) << shown(bad);
}

TEST(Text, ShowsNothingThatATerminalObeys) {
  EXPECT_EQ(shown("plain"), "\"plain\"");
  EXPECT_EQ(shown("\x1b[2J\"\\\xc3"), "\"\\x1b[2J\\x22\\x5c\\xc3\"");
  EXPECT_EQ(shown(std::string(81, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

}  // namespace
}  // namespace mlx_native
