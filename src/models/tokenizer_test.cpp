#include "mlx_native/models/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "models/byte_alphabet.h"
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
