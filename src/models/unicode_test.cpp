#include "models/unicode.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace mlx_native {
namespace {

TEST(Unicode, ClassesOfCodePoints) {
  for (const char32_t c : {U'a', U'Z', U'\u00e9', U'\u4f60', U'\u0639', U'\U00010400', U'\u02b0'})
    EXPECT_EQ(char_class(c), CharClass::Letter) << unsigned(c);
  for (const char32_t c : {U'0', U'9', U'\u0663', U'\u00bd', U'\u2167', U'\U0001d7ce'})
    EXPECT_EQ(char_class(c), CharClass::Number) << unsigned(c);
  for (const char32_t c : {U' ', U'\t', U'\n', U'\r', U'\u00a0', U'\u2003', U'\u3000', U'\u0085'})
    EXPECT_EQ(char_class(c), CharClass::Space) << unsigned(c);
  for (const char32_t c : {U'\0', U'.', U'_', U'\u0301', U'\u200b', U'\U0001f600', U'\ufffd', char32_t{0x10ffff}})
    EXPECT_EQ(char_class(c), CharClass::Other) << unsigned(c);
}

TEST(Unicode, EveryCodePointSurvivesUtf8) {
  for (char32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8Char c = decode_utf8(text, 0);
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.length, text.size());
    ASSERT_EQ(c.state, Utf8Char::Valid);
  }
}

TEST(Unicode, WhatIsNotUtf8IsTakenInMaximalParts) {
  const auto parts = [](std::string_view text) {
    std::vector<int> lengths;
    for (std::size_t i = 0; i < text.size(); i += decode_utf8(text, i).length) {
      EXPECT_EQ(decode_utf8(text, i).code, 0xfffdu);
      lengths.push_back(decode_utf8(text, i).length);
    }
    return lengths;
  };
  EXPECT_EQ(parts("\xc0\xaf"), (std::vector{1, 1}));                // overlong
  EXPECT_EQ(parts("\xe0\x80\xaf"), (std::vector{1, 1, 1}));         // overlong
  EXPECT_EQ(parts("\xed\xa0\x80"), (std::vector{1, 1, 1}));         // surrogate
  EXPECT_EQ(parts("\xf4\x90\x80\x80"), (std::vector{1, 1, 1, 1}));  // beyond U+10FFFF
  EXPECT_EQ(parts("\xf0\x9f\x98\xf0\x9f"), (std::vector{3, 2}));    // cut off twice
  EXPECT_EQ(decode_utf8("\xf0\x9f", 0).state, Utf8Char::Incomplete);
  EXPECT_EQ(decode_utf8("\xf0\x9f!", 0).state, Utf8Char::Invalid);
}

}  // namespace
}  // namespace mlx_native
