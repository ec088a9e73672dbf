// GPT-2's alphabet: every byte is written as one printable character, so that a vocabulary is text. Bytes that are
// printable in Latin-1 stand for themselves, the others for U+0100, U+0101, ... in ascending order: a space is U+0120.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "models/unicode.h"

namespace mlx_native {

/// Character of every byte.
inline const std::array<char32_t, 256>& byte_alphabet() {
  static const auto alphabet = [] {
    std::array<char32_t, 256> characters{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      characters[byte] = printable ? byte : next++;
    }
    return characters;
  }();
  return alphabet;
}

/// The bytes that `text` spells, or nullopt where a character is not of the alphabet.
inline std::optional<std::string> bytes_of_alphabet(std::string_view text) {
  static const auto byte_of = [] {
    std::array<std::int16_t, 0x144> bytes;
    bytes.fill(-1);
    for (std::int16_t byte = 0; byte < 256; ++byte) bytes[byte_alphabet()[static_cast<std::size_t>(byte)]] = byte;
    return bytes;
  }();
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    if (c.code >= byte_of.size() || byte_of[c.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte_of[c.code]));
    i += c.length;
  }
  return bytes;
}

}  // namespace mlx_native
