// The tokenizer of the embedded models, and what it says of vocabularies that no model can have.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "models_support.h"
#include "support/synthetic_model.h"

namespace mlx_native {
namespace {

using test::Ids;
using test::SyntheticModel;

TEST(ModelsTokenizer, EncodesAsTheReference) {
  std::ifstream stream(std::string(MLXN_SOURCE_DIR) + "/tests/models/tokenizer_cases.json");
  const auto cases = nlohmann::json::parse(stream);
  ASSERT_GE(cases.size(), 20u);
  for (const char* name : {"docs-dense", "docs-moe"}) {
    const auto tokenizer = Tokenizer::load(test::embedded_model(name)).value();
    EXPECT_EQ(tokenizer.vocab_size(), 4096u);
    EXPECT_FALSE(tokenizer.adds_bos());
    EXPECT_TRUE(tokenizer.is_end(0));
    EXPECT_FALSE(tokenizer.is_end(1));
    for (const auto& c : cases) {
      const auto text = c["text"].get<std::string>();
      const auto ids = tokenizer.encode(text).value();
      EXPECT_EQ(ids, c["ids"].get<Ids>()) << text;
      EXPECT_EQ(tokenizer.decode(ids).value(), text);
    }
  }
}

/// The vocabulary of an embedded model, to be spoilt.
SyntheticModel vocabulary() {
  static const GgufFile file = test::embedded_model("docs-dense");
  SyntheticModel m;
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with("tokenizer.")) m.metadata.emplace_back(key, value);
  m.add("unused", {4});
  return m;
}

template <class T>
std::vector<T> array_of(const SyntheticModel& m, std::string_view key) {
  for (const std::pair<std::string, MetadataValue>& entry : m.metadata)
    if (entry.first == key) return *entry.second.as_array<T>();
  return {};
}

const std::string kTokens = "tokenizer.ggml.tokens", kTypes = "tokenizer.ggml.token_type",
                  kMerges = "tokenizer.ggml.merges";

struct Case {
  const char* name;
  void (*spoil)(SyntheticModel&);
  const char* message;  ///< what the error must name
};

const Case kCases[] = {
    {"model missing", [](SyntheticModel& m) { m.erase("tokenizer.ggml.model"); }, "tokenizer.ggml.model"},
    {"model of another kind", [](SyntheticModel& m) { m.set("tokenizer.ggml.model", "llama"); }, "\"llama\""},
    {"model is a number", [](SyntheticModel& m) { m.set("tokenizer.ggml.model", 2u); }, "tokenizer.ggml.model"},
    {"pre missing", [](SyntheticModel& m) { m.erase("tokenizer.ggml.pre"); }, "tokenizer.ggml.pre"},
    {"pre unknown", [](SyntheticModel& m) { m.set("tokenizer.ggml.pre", "nonsense"); }, "\"nonsense\""},
    {"tokens missing", [](SyntheticModel& m) { m.erase(kTokens); }, "tokenizer.ggml.tokens"},
    {"tokens are numbers", [](SyntheticModel& m) { m.set(kTokens, SyntheticModel::array(std::vector<float>(4096))); },
     "tokenizer.ggml.tokens"},
    {"tokens empty", [](SyntheticModel& m) { m.set(kTokens, SyntheticModel::array(std::vector<std::string>())); },
     "0 tokens"},
    {"tokens too few",
     [](SyntheticModel& m) {
       auto tokens = array_of<std::string>(m, kTokens);
       tokens.resize(4000);
       m.set(kTokens, SyntheticModel::array(tokens));
     },
     "token_type"},
    {"tokens repeated",
     [](SyntheticModel& m) {
       auto tokens = array_of<std::string>(m, kTokens);
       tokens[2000] = tokens[2001];
       m.set(kTokens, SyntheticModel::array(tokens));
     },
     "the same"},
    {"types too many",
     [](SyntheticModel& m) {
       auto types = array_of<std::int32_t>(m, kTypes);
       types.push_back(1);
       m.set(kTypes, SyntheticModel::array(types));
     },
     "token_type"},
    {"types negative",
     [](SyntheticModel& m) {
       auto types = array_of<std::int32_t>(m, kTypes);
       types[7] = -1;
       m.set(kTypes, SyntheticModel::array(types));
     },
     "token_type[7]"},
    {"types beyond the known",
     [](SyntheticModel& m) { m.set(kTypes, SyntheticModel::array(std::vector<std::uint32_t>(4096, 7))); },
     "token_type[0]"},
    {"types are strings",
     [](SyntheticModel& m) { m.set(kTypes, SyntheticModel::array(std::vector<std::string>(4096))); }, "token_type"},
    {"types are one number", [](SyntheticModel& m) { m.set(kTypes, 1); }, "token_type"},
    {"a byte is missing",
     [](SyntheticModel& m) {
       auto types = array_of<std::int32_t>(m, kTypes);
       types[1] = 5;
       m.set(kTypes, SyntheticModel::array(types));
     },
     "byte 0x21"},
    {"not a byte token",
     [](SyntheticModel& m) {
       auto types = array_of<std::int32_t>(m, kTypes);
       types[4000] = 6;
       m.set(kTypes, SyntheticModel::array(types));
     },
     "token 4000"},
    {"scores too few",
     [](SyntheticModel& m) { m.set("tokenizer.ggml.scores", SyntheticModel::array(std::vector<float>(4095))); },
     "scores"},
    {"merges missing", [](SyntheticModel& m) { m.erase(kMerges); }, "tokenizer.ggml.merges"},
    {"merges are numbers",
     [](SyntheticModel& m) { m.set(kMerges, SyntheticModel::array(std::vector<std::int64_t>(9))); },
     "tokenizer.ggml.merges"},
    {"a merge of an unknown token",
     [](SyntheticModel& m) {
       auto merges = array_of<std::string>(m, kMerges);
       merges[5] = "qqqq zzzz";
       m.set(kMerges, SyntheticModel::array(merges));
     },
     "merge 5"},
    {"a merge of nothing",
     [](SyntheticModel& m) {
       auto merges = array_of<std::string>(m, kMerges);
       merges[5] = "";
       m.set(kMerges, SyntheticModel::array(merges));
     },
     "merge 5"},
    {"bos out of range", [](SyntheticModel& m) { m.set("tokenizer.ggml.bos_token_id", 4096u); }, "bos_token_id"},
    {"bos negative", [](SyntheticModel& m) { m.set("tokenizer.ggml.bos_token_id", -1); }, "bos_token_id"},
    {"eos beyond 32 bits", [](SyntheticModel& m) { m.set("tokenizer.ggml.eos_token_id", std::uint64_t{1} << 32); },
     "eos_token_id"},
    {"eot is a string", [](SyntheticModel& m) { m.set("tokenizer.ggml.eot_token_id", "0"); }, "eot_token_id"},
    {"add_bos is a number", [](SyntheticModel& m) { m.set("tokenizer.ggml.add_bos_token", 1.5f); }, "add_bos_token"},
    {"add_bos without bos",
     [](SyntheticModel& m) {
       m.erase("tokenizer.ggml.bos_token_id");
       m.set("tokenizer.ggml.add_bos_token", true);
     },
     "bos"},
};

TEST(ModelsTokenizer, BadMetadataIsAnError) {
  const test::TempDir dir;
  {
    const auto file = vocabulary().write(dir / "good.gguf");
    ASSERT_TRUE(Tokenizer::load(*file).has_value());
  }
  for (const Case& c : kCases) {
    SyntheticModel m = vocabulary();
    c.spoil(m);
    const auto file = m.write(dir / "bad.gguf");
    ASSERT_TRUE(file.has_value()) << c.name << ": " << file.error().message;
    const auto tokenizer = Tokenizer::load(*file);
    ASSERT_FALSE(tokenizer.has_value()) << c.name;
    EXPECT_EQ(tokenizer.error().kind, ErrorKind::GgufParseError) << c.name;
    EXPECT_NE(tokenizer.error().message.find(c.message), std::string::npos)
        << c.name << ": " << tokenizer.error().message;
  }
}

TEST(ModelsTokenizer, EndsAreKnownByTheirNames) {
  const test::TempDir dir;
  SyntheticModel m = vocabulary();
  auto tokens = array_of<std::string>(m, kTokens);
  auto types = array_of<std::int32_t>(m, kTypes);
  tokens[4093] = "<|im_end|>", types[4093] = static_cast<int>(TokenKind::Control);
  tokens[4094] = "<|eot_id|>", types[4094] = static_cast<int>(TokenKind::UserDefined);
  tokens[4095] = "<|custom|>", types[4095] = static_cast<int>(TokenKind::Control);
  m.set(kTokens, SyntheticModel::array(tokens));
  m.set(kTypes, SyntheticModel::array(types));
  m.set(kMerges, SyntheticModel::array(std::vector<std::string>()));
  const auto file = m.write(dir / "m.gguf");
  const Tokenizer tokenizer = test::must(Tokenizer::load(*file));
  EXPECT_TRUE(tokenizer.is_end(0));
  EXPECT_TRUE(tokenizer.is_end(4093));
  EXPECT_TRUE(tokenizer.is_end(4094));
  EXPECT_FALSE(tokenizer.is_end(4095));
}

}  // namespace
}  // namespace mlx_native
