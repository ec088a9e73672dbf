#include "synthetic_vocabulary.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "mlx_native/models/tokenizer.h"

namespace mlxn {

namespace {

using mlx_native::MetadataValue;
using mlx_native::TokenKind;

std::string utf8(std::uint32_t code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

/// GPT-2's characters for the 256 bytes: printable ones of Latin-1 stand for themselves, the others for U+0100 and up.
std::vector<std::string> byte_characters() {
  std::vector<std::string> result;
  std::uint32_t next = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    result.push_back(utf8(printable ? byte : next++));
  }
  return result;
}

struct Words {
  std::vector<std::string> tokens = byte_characters(), merges;
  std::size_t limit;

  /// Adds every "left right" while there is room; gives the new tokens.
  std::vector<std::string> merge(const std::vector<std::string>& left, const std::vector<std::string>& right) {
    std::vector<std::string> made;
    for (const auto& a : left) {
      for (const auto& b : right) {
        if (tokens.size() == limit) return made;
        merges.push_back(a + ' ' + b);
        made.push_back(a + b);
        tokens.push_back(made.back());
      }
    }
    return made;
  }
};

}  // namespace

std::vector<mlx_native::GgufFile::MetadataEntry> synthetic_vocabulary(std::uint32_t count, std::uint32_t words) {
  Words vocabulary{.limit = words};
  const std::vector<std::string> space = {vocabulary.tokens[' ']};
  std::vector<std::string> letters;
  for (char c = 'a'; c <= 'z'; ++c) letters.emplace_back(1, c);
  const auto pairs = vocabulary.merge(letters, letters);
  vocabulary.merge(space, letters);
  const auto spaced_pairs = vocabulary.merge(space, pairs);
  vocabulary.merge(spaced_pairs, letters);
  vocabulary.merge(pairs, letters);
  vocabulary.merge(pairs, pairs);

  auto& tokens = vocabulary.tokens;
  std::vector<std::int32_t> kinds(tokens.size(), static_cast<std::int32_t>(TokenKind::Normal));
  const auto add = [&](std::string token, TokenKind kind) {
    tokens.push_back(std::move(token));
    kinds.push_back(static_cast<std::int32_t>(kind));
    return static_cast<std::uint32_t>(tokens.size() - 1);
  };
  const std::uint32_t end_of_text = add("<|endoftext|>", TokenKind::Control);
  add("<|im_start|>", TokenKind::Control);
  const std::uint32_t end_of_turn = add("<|im_end|>", TokenKind::Control);
  while (tokens.size() < count) add(fmt::format("[PAD{}]", tokens.size()), TokenKind::Unused);

  const auto scalar = [](auto value) { return MetadataValue{MetadataValue::Scalar(std::move(value))}; };
  const auto array = [](auto values) { return MetadataValue{MetadataValue::Array(std::move(values))}; };
  return {{"tokenizer.ggml.model", scalar(std::string("gpt2"))},
          {"tokenizer.ggml.pre", scalar(std::string("qwen2"))},
          {"tokenizer.ggml.tokens", array(std::move(tokens))},
          {"tokenizer.ggml.token_type", array(std::move(kinds))},
          {"tokenizer.ggml.merges", array(std::move(vocabulary.merges))},
          {"tokenizer.ggml.bos_token_id", scalar(end_of_text)},
          {"tokenizer.ggml.eos_token_id", scalar(end_of_turn)},
          {"tokenizer.ggml.padding_token_id", scalar(end_of_text)},
          {"tokenizer.ggml.add_bos_token", scalar(false)}};
}

}  // namespace mlxn
