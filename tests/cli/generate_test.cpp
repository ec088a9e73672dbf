#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>

#include "cli/process.h"
#include "support/lane.h"
#include "support/numbers.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using Arguments = std::vector<std::string>;

/// Greedy, and by one thread unless `more` says otherwise: tests share the machine.
Arguments generate(const std::string& model, const Arguments& more) {
  Arguments arguments = {"generate", "-m", model, "--temp", "0"};
  if (!std::ranges::count(more, "-t")) arguments.insert(arguments.end(), {"-t", "1"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

nlohmann::json json_of(const Arguments& arguments) {
  const auto outcome = mlxn(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto json = outcome.json();
  EXPECT_TRUE(json.is_object()) << outcome.out;
  return json;
}

std::string list(const std::vector<std::uint32_t>& ids) { return fmt::format("{}", fmt::join(ids, ",")); }

class CliReference : public testing::TestWithParam<const char*> {};

TEST_P(CliReference, GreedyIdsAndLogits) {
  const std::string name = GetParam();
  std::ifstream file(std::string(MLXN_SOURCE_DIR "/tests/models/") + name + ".reference.json");
  const auto references = nlohmann::json::parse(file);
  ASSERT_GE(references.size(), 3u);
  for (const auto& reference : references) {
    const auto ids = reference.at("ids").get<std::vector<std::uint32_t>>();
    const auto greedy = reference.at("greedy_ids").get<std::vector<std::uint32_t>>();
    const auto json = json_of(generate(std::string(MLXN_SOURCE_DIR "/share/models/") + name + ".gguf",
                                       {"--tokens", list(ids), "-n", std::to_string(greedy.size() - ids.size()),
                                        "--ignore-eos", "--json", "--logits"}));
    EXPECT_EQ(json.at("prompt_tokens"), ids);
    const std::vector<std::uint32_t> expected(greedy.begin() + static_cast<std::ptrdiff_t>(ids.size()), greedy.end());
    EXPECT_EQ(json.at("tokens"), expected);
    EXPECT_FALSE(json.at("text").get<std::string>().empty());
    EXPECT_LE(relative_error(json.at("logits"), reference.at("logits")), 1e-4);
    for (const char* key : {"load_ms", "prompt_ms", "prompt_tokens_per_second", "generation_ms", "tokens_per_second"})
      EXPECT_GT(json.at("timings").at(key).get<double>(), 0) << key;
    EXPECT_GT(json.at("timings").at("first_token_ms"), json.at("timings").at("load_ms"));
    const auto& memory = json.at("memory");
    EXPECT_GT(memory.at("file"), memory.at("weights"));
    EXPECT_GT(memory.at("peak_rss"), memory.at("kv_cache"));
    if (kSlow) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Embedded, CliReference, testing::Values("docs-dense.q4_k_m", "docs-moe.q4_k_m"));

TEST(CliGenerate, TextGoesToStdoutAndTimingsToStderr) {
  for (const auto& model : {dense_model(), moe_model()}) {
    const auto outcome = mlxn(generate(model, {"-p", "The SELECT statement", "-n", "8"}));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(outcome.out.starts_with("The SELECT statement")) << outcome.out;
    EXPECT_TRUE(outcome.out.ends_with("\n"));
    for (const char* part :
         {"t/s", "weights", "KV cache", "activations", "memory: file", "peak RSS", "first token after", "seed"})
      EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_THAT(outcome.out + outcome.err, Not(HasSubstr("\x1b")));
    const auto alone = mlxn(generate(model, {"-p", "The SELECT statement", "-n", "8", "--no-display-prompt"}));
    const auto json = json_of(generate(model, {"-p", "The SELECT statement", "-n", "8", "--json"}));
    EXPECT_EQ("The SELECT statement" + alone.out, outcome.out);
    EXPECT_TRUE(alone.out.starts_with(json.at("text").get<std::string>()));
    EXPECT_EQ(json.at("tokens").size(), 8u);
    EXPECT_EQ(json.at("stop"), "max_tokens");
    EXPECT_FALSE(json.contains("logits"));
  }
}

TEST(CliGenerate, JsonSaysWhyItEndedAndHowToDoItAgain) {
  const auto json = json_of(generate(dense_model(), {"-p", "The", "-c", "4", "--seed", "7", "--ignore-eos", "--json"}));
  EXPECT_EQ(json.at("stop"), "context_full");
  EXPECT_EQ(json.at("seed"), 7);
}

TEST(CliGenerate, TheCacheHoldsNoMoreThanIsAskedFor) {
  const auto run = [](const Arguments& more) {
    Arguments all = {"--tokens", "1,2,3,4,5", "--ignore-eos", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return json_of(generate(dense_model(), all));
  };
  const auto whole = run({"-n", "11", "-c", "2048"}), few = run({"-n", "11"});
  EXPECT_EQ(few.at("tokens"), whole.at("tokens"));
  EXPECT_EQ(few.at("stop"), "max_tokens");
  EXPECT_EQ(few.at("memory").at("kv_cache").get<std::uint64_t>() * 2048 / 256, whole.at("memory").at("kv_cache"));
  EXPECT_EQ(run({"-n", "0"}).at("stop"), "max_tokens");
}

TEST(CliGenerate, PromptLongerThanTheContext) {
  const auto outcome = mlxn(generate(dense_model(), {"--tokens", "1,2,3,4,5", "-c", "4"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  for (const char* part : {"has 5 tokens", "holds 4", "-c, at most 2048"}) EXPECT_THAT(outcome.err, HasSubstr(part));
}

TEST(CliGenerate, PromptFromAFile) {
  const TempDir dir;
  const std::string text = "CREATE TABLE t(a INTEGER);\n";
  write_file(dir / "prompt", std::vector<std::uint8_t>(text.begin(), text.end()));
  const auto file = json_of(generate(dense_model(), {"-f", (dir / "prompt").string(), "-n", "4", "--json"}));
  const auto prompt = json_of(generate(dense_model(), {"-p", text, "-n", "4", "--json"}));
  EXPECT_EQ(file.at("prompt_tokens"), prompt.at("prompt_tokens"));
  EXPECT_EQ(file.at("tokens"), prompt.at("tokens"));
}

TEST(CliGenerate, ShowsThePromptAsItWasGiven) {
  // The embedded model with prompts that start with bos.
  const TempDir dir;
  auto bytes = read_file(dense_model());
  const std::string key = "tokenizer.ggml.add_bos_token";
  const auto at = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
  ASSERT_NE(at, bytes.end());
  (&*at)[key.size() + 4] = 1;  // behind the value's type
  const auto path = (dir / "model.gguf").string();
  write_file(path, bytes);
  EXPECT_EQ(json_of(generate(path, {"-p", "The", "-n", "1", "--json"})).at("prompt_tokens").at(0), 0);
  EXPECT_TRUE(mlxn(generate(path, {"-p", "The", "-n", "1"})).out.starts_with("The"));
}

TEST(CliGenerate, SameBitsForAnyNumberOfThreads) {
  for (const auto& model : {dense_model(), moe_model()}) {
    nlohmann::json first;
    for (const char* threads : {"1", "2", "4"}) {
      auto json =
          json_of(generate(model, {"-p", "The query planner chooses", "-n", "6", "--json", "--logits", "-t", threads}));
      json.erase("seed");  // random, and of no effect
      json.erase("timings");
      json.erase("memory");
      if (first.is_null()) first = json;
      EXPECT_EQ(json, first) << threads;
    }
  }
}

TEST(CliGenerate, PromptTokenByTokenAgreesWithBatches) {
  for (const auto& model : {dense_model(), moe_model()}) {
    const Arguments rest = {"-p",     "A trigger is run once for each row that is deleted, inserted or updated",
                            "-n",     "6",
                            "--json", "--logits",
                            "-b"};
    auto one = rest, many = rest;
    one.push_back("1");
    many.push_back("512");
    const auto single = json_of(generate(model, one)), batched = json_of(generate(model, many));
    EXPECT_EQ(single.at("tokens"), batched.at("tokens"));
    EXPECT_LE(relative_error(single.at("logits"), batched.at("logits")), 6e-5);
  }
}

TEST(CliGenerate, SeedsDecideWhatIsDrawn) {
  const auto draw = [](const char* seed) {
    return json_of({"generate", "-m",     dense_model(), "-p",      "The", "-n",      "16", "-t",      "1", "--seed",
                    seed,       "--temp", "1.5",         "--top-k", "0",   "--top-p", "1",  "--min-p", "0", "--json"})
        .at("tokens");
  };
  EXPECT_EQ(draw("7"), draw("7"));
  EXPECT_NE(draw("7"), draw("8"));
  EXPECT_NE(draw("-1"), draw("-1"));
  EXPECT_EQ(json_of(generate(dense_model(), {"-p", "The", "-n", "8", "--seed", "1", "--json"})).at("tokens"),
            json_of({"generate", "-m", dense_model(), "-p", "The", "-n", "8", "--seed", "2", "--top-k", "1", "-t", "1",
                     "--json"})
                .at("tokens"));
}

TEST(CliGenerate, RepeatPenaltyAndHalfCacheAreHeard) {
  const Arguments base = {"-p", "the the the the the", "-n", "24", "--json", "--ignore-eos", "--logits"};
  const auto plain = json_of(generate(dense_model(), base));
  auto arguments = base;
  arguments.insert(arguments.end(), {"--repeat-penalty", "5"});
  EXPECT_NE(json_of(generate(dense_model(), arguments)).at("tokens"), plain.at("tokens"));
  arguments = base;
  arguments.insert(arguments.end(), {"--kv", "f16"});
  const auto half = json_of(generate(dense_model(), arguments));
  EXPECT_NE(half.at("logits"), plain.at("logits"));
  EXPECT_LE(relative_error(half.at("logits"), plain.at("logits")), 5e-3);
}

TEST(CliGenerate, RepeatLastN) {
  const auto ids = [](const char* last) {
    Arguments arguments = {"-p", "the the the the the", "-n", "24", "--json", "--ignore-eos"};
    if (*last) arguments.insert(arguments.end(), {"--repeat-penalty", "5", "--repeat-last-n", last});
    return json_of(generate(dense_model(), arguments)).at("tokens");
  };
  const auto all = ids("-1");
  EXPECT_EQ(ids("0"), ids(""));
  EXPECT_EQ(ids("64"), all);
  EXPECT_NE(ids("0"), all);
  EXPECT_NE(ids("2"), all);
  EXPECT_NE(ids("2"), ids("0"));
}

TEST(CliGenerate, AFileThatIsReadGivesWhatAMappedOneGives) {
  const Arguments base = {"--tokens", "318,1530,862", "-n", "8", "--json", "--logits"};
  auto read = base;
  read.push_back("--no-mmap");
  const auto mapped = json_of(generate(dense_model(), base)), copied = json_of(generate(dense_model(), read));
  EXPECT_EQ(copied.at("tokens"), mapped.at("tokens"));
  EXPECT_EQ(copied.at("logits"), mapped.at("logits"));
}

TEST(CliGenerate, ContextEndsTheText) {
  const auto json = json_of(generate(dense_model(), {"--tokens", "318,1530,862", "-c", "8", "--ignore-eos", "--json"}));
  EXPECT_EQ(json.at("tokens").size(), 6u);  // the last one needs no room of its own
}

TEST(CliGenerate, EndOfTextEndsTheTextUnlessIgnored) {
  // The embedded model with another end token: the one that it finds likeliest after this prompt.
  const TempDir dir;
  auto bytes = read_file(dense_model());
  const std::string key = "tokenizer.ggml.eos_token_id";
  const auto at = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
  ASSERT_NE(at, bytes.end());
  const std::uint32_t likeliest = 291;
  std::memcpy(&*at + key.size() + 4, &likeliest, sizeof likeliest);  // behind the value's type
  const auto path = (dir / "model.gguf").string();
  write_file(path, bytes);
  const Arguments rest = {"--tokens", "318,1530,862", "-n", "4", "--json"};
  EXPECT_TRUE(json_of(generate(path, rest)).at("tokens").empty());
  auto ignoring = rest;
  ignoring.push_back("--ignore-eos");
  EXPECT_EQ(json_of(generate(path, ignoring)).at("tokens"), json_of(generate(dense_model(), rest)).at("tokens"));
  const auto text = mlxn(generate(path, {"--tokens", "318,1530,862", "-n", "4"}));
  EXPECT_EQ(text.out, "The SELECT statement\n");
  EXPECT_THAT(text.err, HasSubstr("end of text"));
}

TEST(CliGenerate, WrongUsage) {
  std::vector<Arguments> cases = {{}, {"-p", "a", "--tokens", "1"}, {"-p", "a", "-f", "b"}, {"-p", "a", "--logits"}};
  const std::vector<std::pair<const char*, std::vector<const char*>>> bad = {
      {"-n", {"-2", "", "x", "1.5", "nan", "1e3", "99999999999"}},
      {"-c", {"-1", "", "nan", "4294967296"}},
      {"-t", {"-1", "", "2000"}},
      {"-b", {"0", "-1", "16385"}},
      {"--temp", {"-0.1", "", "nan", "inf", "1e400", "x", "0x1p3"}},
      {"--top-k", {"-1", "2147483648", "1.5"}},
      {"--top-p", {"0", "1.01", "nan", "-1", ""}},
      {"--min-p", {"-0.1", "1.1", "nan", ""}},
      {"--repeat-penalty", {"0", "-1", "nan", "inf", ""}},
      {"--repeat-last-n", {"-2", "", "1.5", "4294967296"}},
      {"--seed", {"-2", "", "9223372036854775808", "1.0"}},
      {"--tokens", {"", ",", "1,", "1,,2", "-1", "4294967296", "a", "1 ,2"}},
      {"--kv", {"q8_0", ""}},
      {"--backend", {"tpu", ""}}};
  for (const auto& [option, values] : bad)
    for (const char* value : values) {
      Arguments arguments = {option, value};
      if (std::string_view(option) != "--tokens") arguments.insert(arguments.end(), {"-p", "a"});
      cases.push_back(arguments);
    }
  for (auto arguments : cases) {
    arguments.insert(arguments.begin(), {"generate", "-m", dense_model()});
    const auto outcome = mlxn(arguments);
    EXPECT_EQ(outcome.code, 2) << testing::PrintToString(arguments) << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(CliGenerate, BadInput) {
  const TempDir dir;
  const std::vector<Arguments> cases = {
      {"-p", ""},
      {"-p", "one two three four five six", "-c", "3"},
      {"-p", "a", "-c", "4294967295"},
      {"-p", "a", "--backend", "metal"},
      {"-f", (dir / "absent").string()},
      {"-f", (dir / "").string()},
      {"--tokens", "4096"},
      {"--tokens", "4294967295"},
  };
  for (const auto& arguments : cases) {
    const auto outcome = mlxn(generate(dense_model(), arguments));
    EXPECT_EQ(outcome.code, 1) << testing::PrintToString(arguments) << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
  for (const std::string& model :
       {std::string("/dev/zero"), (dir / "").string(), (dir / "absent").string(), std::string()}) {
    const auto outcome = mlxn(generate(model, {"-p", "a"}));
    EXPECT_EQ(outcome.code, 1) << model << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  }
}

TEST(CliGenerate, FullDisk) {
  for (const Arguments& more : {Arguments{}, Arguments{"--json"}}) {
    auto arguments = generate(dense_model(), {"-p", "The", "-n", "4"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = mlxn(arguments, "/dev/full");
    EXPECT_EQ(outcome.code, 1);
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("No space left"));
  }
}

TEST(CliGenerate, InterruptEndsWithWhatThereIs) {
  Mlxn process(generate(dense_model(), {"-p", "The", "--ignore-eos"}));
  ASSERT_TRUE(process.wait_for_output(std::chrono::seconds(60)));
  process.signal(SIGINT);
  const auto outcome = process.wait();
  EXPECT_EQ(outcome.code, 128 + SIGINT);
  EXPECT_TRUE(outcome.out.starts_with("The"));
  EXPECT_TRUE(outcome.out.ends_with("\n"));
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
  EXPECT_THAT(outcome.err, HasSubstr("t/s"));
}

// As a shell starts what it runs in the background.
TEST(CliGenerate, WhatIsIgnoredFromTheStartStaysIgnored) {
  const auto before = std::signal(SIGINT, SIG_IGN);
  Mlxn process(generate(dense_model(), {"-p", "The", "--ignore-eos", "-n", kSlow ? "40" : "200"}), {}, {}, true);
  std::signal(SIGINT, before);
  ASSERT_TRUE(process.wait_for_output(std::chrono::seconds(60)));
  process.signal(SIGINT);
  const auto outcome = process.wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("limit of -n"));
}

}  // namespace
}  // namespace mlx_native::test
