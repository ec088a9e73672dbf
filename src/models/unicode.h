// Code points of UTF-8 text and their classes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mlx_native {

/// The classes that the tokenizers' regular expressions know: \p{L}, \p{N}, \s (White_Space). Numbered as in
/// unicode_table.h.
enum class CharClass : std::uint8_t { Other = 0, Letter = 1, Number = 2, Space = 3 };

CharClass char_class(char32_t code);

/// One code point of a text. Bytes that are not UTF-8 stand for U+FFFD, as long as the longest prefix of a character
/// that they form (at least one byte).
struct Utf8Char {
  char32_t code;
  std::uint8_t length;                                       ///< bytes, 1 to 4
  enum : std::uint8_t { Valid, Invalid, Incomplete } state;  ///< Incomplete: the text ends inside of the character
};

/// The code point that starts at `position` < text.size().
Utf8Char decode_utf8(std::string_view text, std::size_t position);

void append_utf8(std::string& text, char32_t code);

}  // namespace mlx_native
