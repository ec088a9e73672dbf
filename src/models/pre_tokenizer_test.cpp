#include "models/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace mlx_native {
namespace {

std::vector<std::string> words(std::string_view pre, std::string_view text) {
  std::vector<std::string> result;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = find_pre_tokenizer(pre)->word_end(text, position);
    EXPECT_GT(end, position);
    result.emplace_back(text.substr(position, end - position));
    position = end;
  }
  return result;
}

TEST(PreTokenizer, Gpt2) {
  using W = std::vector<std::string>;
  EXPECT_EQ(words("gpt-2", "Hello world's 42 cats"), (W{"Hello", " world", "'s", " 42", " cats"}));
  EXPECT_EQ(words("gpt-2", "a  b   "), (W{"a", " ", " b", "   "}));
  EXPECT_EQ(words("gpt-2", "x\n\n  y"), (W{"x", "\n\n ", " y"}));
  EXPECT_EQ(words("gpt-2", "'S 'll\"'ve"), (W{"'", "S", " '", "ll", "\"'", "ve"}));
  EXPECT_EQ(words("gpt-2", "a\tb\u00a0c"), (W{"a", "\t", "b", "\u00a0", "c"}));
  EXPECT_EQ(words("gpt-2", "12ab!?"), (W{"12", "ab", "!?"}));
}

TEST(PreTokenizer, Tiktoken) {
  using W = std::vector<std::string>;
  EXPECT_EQ(words("qwen2", "Hello world'S 42"), (W{"Hello", " world", "'S", " ", "4", "2"}));
  EXPECT_EQ(words("llama-bpe", "12345 67"), (W{"123", "45", " ", "67"}));
  EXPECT_EQ(words("qwen2", "a.b\tc (d)"), (W{"a", ".b", "\tc", " (", "d", ")"}));
  EXPECT_EQ(words("qwen2", "x;\r\n\ny"), (W{"x", ";\r\n\n", "y"}));
  EXPECT_EQ(words("qwen2", "x \n  \n  y"), (W{"x", " \n  \n", " ", " y"}));
  EXPECT_EQ(words("qwen2", "x   "), (W{"x", "   "}));
  EXPECT_EQ(words("qwen2", "\ny"), (W{"\n", "y"}));
  EXPECT_EQ(words("qwen2", "  !a"), (W{" ", " !", "a"}));
}

}  // namespace
}  // namespace mlx_native
