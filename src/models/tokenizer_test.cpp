#include "mlx_native/models/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "models/byte_alphabet.h"
#include "models/pre_tokenizer.h"
#include "models/unicode.h"
#include "support/lane.h"

namespace mlx_native {
namespace {

std::string alphabet_text(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, byte_alphabet()[static_cast<std::uint8_t>(byte)]);
  return text;
}

/// 256 byte tokens (id = byte), then what the merges make, in their order; merges are given in plain bytes.
Vocabulary small_vocabulary(std::string pre, const std::vector<std::pair<std::string, std::string>>& merges) {
  Vocabulary vocabulary{.pre = std::move(pre)};
  for (int byte = 0; byte < 256; ++byte)
    vocabulary.tokens.push_back(alphabet_text(std::string(1, static_cast<char>(byte))));
  for (const auto& [left, right] : merges) {
    vocabulary.tokens.push_back(alphabet_text(left + right));
    vocabulary.merges.push_back(alphabet_text(left) + " " + alphabet_text(right));
  }
  vocabulary.kinds.assign(vocabulary.tokens.size(), TokenKind::Normal);
  return vocabulary;
}

std::uint32_t add_token(Vocabulary& vocabulary, std::string text, TokenKind kind) {
  vocabulary.tokens.push_back(std::move(text));
  vocabulary.kinds.push_back(kind);
  return static_cast<std::uint32_t>(vocabulary.tokens.size() - 1);
}

using Ids = std::vector<std::uint32_t>;

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

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  const auto tokenizer =
      Tokenizer::create(small_vocabulary("gpt-2", {{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"a", "a"}})).value();
  EXPECT_EQ(tokenizer.encode("abc").value(), (Ids{258}));
  EXPECT_EQ(tokenizer.encode("abab").value(), (Ids{257, 257}));
  EXPECT_EQ(tokenizer.encode("aaa").value(), (Ids{259, 'a'}));
  EXPECT_EQ(tokenizer.encode("").value(), Ids{});
}

/// The definition, word by word: again and again the pair of lowest rank, of equals the leftmost.
Ids merge_by_definition(const Tokenizer& tokenizer, const std::vector<std::pair<std::string, std::string>>& merges,
                        std::string_view word) {
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  for (;;) {
    std::size_t best = merges.size(), at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
      for (std::size_t rank = 0; rank < best; ++rank)
        if (merges[rank] == std::pair(parts[i], parts[i + 1])) {
          best = rank;
          at = i;
          break;
        }
    if (best == merges.size()) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) ids.push_back(*tokenizer.find(part));
  return ids;
}

TEST(Tokenizer, MergesAsDefinedForRandomRules) {
  std::mt19937 random(7);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> parts{"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    while (merges.size() < 12) {
      const std::string left = parts[random() % parts.size()], right = parts[random() % parts.size()];
      if (std::ranges::count(parts, left + right)) continue;
      merges.insert(merges.begin() + static_cast<std::ptrdiff_t>(random() % (merges.size() + 1)), {left, right});
      parts.push_back(left + right);
    }
    const auto tokenizer = Tokenizer::create(small_vocabulary("gpt-2", merges)).value();
    for (int i = 0; i < 50; ++i) {
      std::string word;
      for (std::size_t length = random() % 30; word.size() < length;) word += "abc"[random() % 3];
      ASSERT_EQ(tokenizer.encode(word).value(), merge_by_definition(tokenizer, merges, word)) << word;
    }
  }
}

// A quadratic merge would need 10^12 steps for any of these.
TEST(Tokenizer, OneHugeWordTakesNoTime) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (std::string half = "a"; half.size() <= 512; half += half) merges.emplace_back(half, half);
  for (std::string half = "ab"; half.size() <= 64; half += half)
    merges.emplace_back(half.size() == 2 ? "a" : half.substr(half.size() / 2),
                        half.size() == 2 ? "b" : half.substr(half.size() / 2));
  merges.emplace_back(" ", " ");
  auto vocabulary = small_vocabulary("llama-bpe", merges);
  add_token(vocabulary, std::string(250, 'a') + "<end>", TokenKind::Control);
  const auto tokenizer = Tokenizer::create(vocabulary).value();
  constexpr std::size_t kLength = test::kSlow ? 1 << 17 : 1 << 20;
  EXPECT_EQ(tokenizer.encode(std::string(kLength, 'a')).value(),
            Ids(kLength / 1024, *tokenizer.find(std::string(1024, 'a'))));
  for (const std::string_view piece : {"ab", "aab", " ", "\n ", "'", "'s", "1", ".", "\xf0\x9f", "\xc3\xa9", "a1 "}) {
    std::string text;
    while (text.size() < kLength) text += piece;
    const Ids ids = tokenizer.encode(text).value();
    EXPECT_EQ(tokenizer.decode(ids).value(), text);
  }
}

TEST(Tokenizer, WholeWordsGoBeforeMergesForLlama) {
  for (const std::string pre : {"llama-bpe", "qwen2"}) {
    auto vocabulary = small_vocabulary(pre, {{"a", "b"}});
    const std::uint32_t abc = add_token(vocabulary, "abc", TokenKind::Normal);
    const auto tokenizer = Tokenizer::create(vocabulary).value();
    EXPECT_EQ(tokenizer.encode("abc").value(), pre == "qwen2" ? (Ids{256, 'c'}) : (Ids{abc}));
  }
}

TEST(Tokenizer, SpecialTokensInText) {
  auto vocabulary = small_vocabulary("gpt-2", {{"a", "b"}});
  const std::uint32_t end = add_token(vocabulary, "<end>", TokenKind::Control);
  const std::uint32_t end_of = add_token(vocabulary, "<end>of", TokenKind::Control);
  const std::uint32_t think = add_token(vocabulary, "<think>", TokenKind::UserDefined);
  add_token(vocabulary, "unused", TokenKind::Unused);
  vocabulary.bos = end;
  vocabulary.add_bos = true;
  const auto tokenizer = Tokenizer::create(vocabulary).value();
  EXPECT_EQ(tokenizer.encode("ab<end>ab").value(), (Ids{256, end, 256}));
  EXPECT_EQ(tokenizer.encode("<end>of<end>o").value(), (Ids{end_of, end, 'o'}));
  EXPECT_EQ(tokenizer.encode("a<end>", Tokenizer::SpecialTokens::Plain).value(), (Ids{'a', '<', 'e', 'n', 'd', '>'}));
  EXPECT_EQ(tokenizer.encode("<think>", Tokenizer::SpecialTokens::Plain).value(), (Ids{think}));
  EXPECT_EQ(tokenizer.encode_prompt("ab").value(), (Ids{end, 256}));
  EXPECT_EQ(tokenizer.encode("unused").value().size(), 6u);
}

TEST(Tokenizer, EveryByteStringSurvives) {
  const auto tokenizer = Tokenizer::create(small_vocabulary("qwen2", {{"\xc3", "\xa9"}, {" ", " "}})).value();
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (std::size_t length = random() % 40; text.size() < length;) text += static_cast<char>(random());
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text).value()).value(), text);
  }
  EXPECT_FALSE(tokenizer.decode(Ids{1, 258}).has_value());
}

TEST(TextStream, HoldsBackIncompleteCharacters) {
  auto vocabulary = small_vocabulary("gpt-2", {});
  const std::uint32_t end = add_token(vocabulary, "<end>", TokenKind::Control);
  TextStream stream(Tokenizer::create(vocabulary).value());
  EXPECT_EQ(stream.push('x'), "x");
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.push(0x9f), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.push(0x80), "\U0001f600");
  EXPECT_EQ(stream.push(end), "");
  EXPECT_EQ(stream.push(0xe4), "");
  EXPECT_EQ(stream.push('y'), "\ufffdy");
  EXPECT_EQ(stream.push(0x80), "\ufffd");
  EXPECT_EQ(stream.push(0xc3), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.finish(), "");
}

struct BadVocabulary {
  const char* name;
  void (*spoil)(Vocabulary&);
  const char* message;
};

TEST(Tokenizer, BadVocabulariesAreErrors) {
  const BadVocabulary cases[] = {
      {"no tokens", [](Vocabulary& v) { v.tokens.clear(), v.kinds.clear(); }, "0 tokens"},
      {"kinds of another length", [](Vocabulary& v) { v.kinds.pop_back(); }, "token kinds"},
      {"unknown pre", [](Vocabulary& v) { v.pre = "qwen99"; }, "qwen99"},
      {"bos out of range", [](Vocabulary& v) { v.bos = 257; }, "bos token 257"},
      {"end out of range",
       [](Vocabulary& v) {
         v.ends = {0, UINT32_MAX};
       },
       "end token 4294967295"},
      {"bos wanted but none", [](Vocabulary& v) { v.add_bos = true; }, "bos"},
      {"byte missing", [](Vocabulary& v) { v.kinds[65] = TokenKind::Unused; }, "0x41"},
      {"repeated token", [](Vocabulary& v) { add_token(v, "ab", TokenKind::Normal); }, "the same"},
      {"repeated special",
       [](Vocabulary& v) { add_token(v, "<s>", TokenKind::Control), add_token(v, "<s>", TokenKind::UserDefined); },
       "the same"},
      {"huge special", [](Vocabulary& v) { add_token(v, std::string(257, 'x'), TokenKind::Control); }, "257 bytes"},
      {"byte token -1", [](Vocabulary& v) { add_token(v, "<0x-1>", TokenKind::Byte); }, "<0x-1>"},
      {"byte token ZZ", [](Vocabulary& v) { add_token(v, "<0xZZ>", TokenKind::Byte); }, "<0xZZ>"},
      {"byte token too long", [](Vocabulary& v) { add_token(v, "<0x100>", TokenKind::Byte); }, "<0x100>"},
      {"merge of one token", [](Vocabulary& v) { v.merges.push_back("ab"); }, "merge 1"},
      {"merge with empty left", [](Vocabulary& v) { v.merges.push_back(" a"); }, "merge 1"},
      {"merge with empty right", [](Vocabulary& v) { v.merges.push_back("a "); }, "merge 1"},
      {"empty merge", [](Vocabulary& v) { v.merges.push_back(""); }, "merge 1"},
      {"merge names unknown left", [](Vocabulary& v) { v.merges.push_back("zz a"); }, "unknown token"},
      {"merge names unknown right", [](Vocabulary& v) { v.merges.push_back("a zz"); }, "unknown token"},
      {"merge makes unknown", [](Vocabulary& v) { v.merges.push_back("b a"); }, "makes an unknown token"},
      {"merge of three", [](Vocabulary& v) { v.merges.push_back("a b c"); }, "unknown token"},
      {"merge outside of the alphabet", [](Vocabulary& v) { v.merges.push_back("a \u4f60"); }, "unknown token"},
  };
  for (const BadVocabulary& bad : cases) {
    Vocabulary vocabulary = small_vocabulary("gpt-2", {{"a", "b"}});
    ASSERT_TRUE(Tokenizer::create(vocabulary).has_value());
    bad.spoil(vocabulary);
    const auto tokenizer = Tokenizer::create(std::move(vocabulary));
    ASSERT_FALSE(tokenizer.has_value()) << bad.name;
    EXPECT_EQ(tokenizer.error().kind, ErrorKind::GgufParseError) << bad.name;
    EXPECT_NE(tokenizer.error().message.find(bad.message), std::string::npos)
        << bad.name << ": " << tokenizer.error().message;
  }
}

}  // namespace
}  // namespace mlx_native
