#include "models/pre_tokenizer.h"

#include <algorithm>

#include "models/unicode.h"

namespace mlx_native {
namespace {

/// A character of the text, or what stands behind its end.
struct Char {
  std::size_t end;
  char32_t code = 0;
  CharClass kind = CharClass::Other;
  bool exists = false;

  bool is(CharClass k) const { return exists && kind == k; }
  bool is_newline() const { return code == '\r' || code == '\n'; }
};

Char char_at(std::string_view text, std::size_t position) {
  if (position >= text.size()) return {position};
  const Utf8Char c = decode_utf8(text, position);
  return {position + c.length, c.code, char_class(c.code), true};
}

/// End of the run of characters of that class, at most `limit` of them.
std::size_t run_end(std::string_view text, std::size_t position, CharClass kind, std::size_t limit = SIZE_MAX) {
  for (Char c = char_at(text, position); limit > 0 && c.is(kind); c = char_at(text, position), --limit)
    position = c.end;
  return position;
}

/// 's|'t|'re|'ve|'m|'ll|'d: bytes of the contraction that starts at `position`, or 0.
std::size_t contraction(std::string_view text, std::size_t position, bool any_case) {
  const auto letter = [&](std::size_t i) -> char {
    if (position + i >= text.size()) return 0;
    const char c = text[position + i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  if (letter(0) != '\'') return 0;
  const char a = letter(1), b = letter(2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/// \s+(?!\S)|\s+: all white space at the text's end; before a word all but the last character, which may belong to it.
/// With `newlines` \s*[\r\n]+ goes before: up to the last newline of the run.
std::size_t white_space_end(std::string_view text, std::size_t position, bool newlines) {
  std::size_t end = position, last = position, after_newline = position;
  for (Char c = char_at(text, end); c.is(CharClass::Space); c = char_at(text, end)) {
    last = end;
    end = c.end;
    if (c.is_newline()) after_newline = end;
  }
  if (newlines && after_newline != position) return after_newline;
  return end == text.size() || last == position ? end : last;
}

/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t gpt2_word(std::string_view text, std::size_t position) {
  if (const std::size_t length = contraction(text, position, false)) return position + length;
  const std::size_t start = text[position] == ' ' ? position + 1 : position;
  const Char first = char_at(text, start);
  if (first.exists && first.kind != CharClass::Space) return run_end(text, start, first.kind);
  return white_space_end(text, position, false);
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max_digits}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <std::size_t max_digits>
std::size_t tiktoken_word(std::string_view text, std::size_t position) {
  if (const std::size_t length = contraction(text, position, true)) return position + length;
  const Char first = char_at(text, position);
  if (first.is(CharClass::Letter)) return run_end(text, position, CharClass::Letter);
  if (first.is(CharClass::Number)) return run_end(text, position, CharClass::Number, max_digits);
  if (!first.is_newline() && char_at(text, first.end).is(CharClass::Letter))
    return run_end(text, first.end, CharClass::Letter);
  const std::size_t start = first.code == ' ' ? first.end : position;
  std::size_t end = run_end(text, start, CharClass::Other);
  if (end == start) return white_space_end(text, position, true);
  while (char_at(text, end).is_newline()) ++end;
  return end;
}

constexpr PreTokenizer kPreTokenizers[] = {
    {"gpt-2", gpt2_word, false, false},
    {"qwen2", tiktoken_word<1>, false, false},
    {"deepseek-r1-qwen", tiktoken_word<1>, false, false},
    {"llama-bpe", tiktoken_word<3>, true, true},
    {"llama3", tiktoken_word<3>, true, true},
    {"llama-v3", tiktoken_word<3>, true, true},
};

}  // namespace

std::span<const PreTokenizer> pre_tokenizers() { return kPreTokenizers; }

const PreTokenizer* find_pre_tokenizer(std::string_view name) {
  const auto found = std::ranges::find(kPreTokenizers, name, &PreTokenizer::name);
  return found == std::end(kPreTokenizers) ? nullptr : found;
}

}  // namespace mlx_native
