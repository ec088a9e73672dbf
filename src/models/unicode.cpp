#include "models/unicode.h"

#include <algorithm>
#include <iterator>

#include "models/unicode_table.h"

namespace mlx_native {

CharClass char_class(char32_t code) {
  const std::uint32_t last_of_code = static_cast<std::uint32_t>(code) << 2 | 3u;
  const auto after = std::upper_bound(std::begin(kUnicodeRuns), std::end(kUnicodeRuns), last_of_code);
  return static_cast<CharClass>(*std::prev(after) & 3u);
}

Utf8Char decode_utf8(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) -> std::uint8_t { return static_cast<std::uint8_t>(text[position + i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8Char::Valid};
  if (lead < 0xc2 || lead > 0xf4) return {0xfffd, 1, Utf8Char::Invalid};
  const std::uint8_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and code points above U+10FFFF.
  std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  char32_t code = lead & (0x7fu >> length);
  for (std::uint8_t i = 1; i < length; ++i) {
    if (position + i == text.size()) return {0xfffd, i, Utf8Char::Incomplete};
    if (byte(i) < low || byte(i) > high) return {0xfffd, i, Utf8Char::Invalid};
    code = code << 6 | (byte(i) & 0x3fu);
    low = 0x80;
    high = 0xbf;
  }
  return {code, length, Utf8Char::Valid};
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

}  // namespace mlx_native
