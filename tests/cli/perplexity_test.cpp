#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cli/process.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;
using Arguments = std::vector<std::string>;

/// A prompt's tokens, and the logits behind it.
nlohmann::json read_prompt(const Arguments& prompt) {
  Arguments arguments = {"generate", "-m", dense_model(), "-n", "0", "-t", "1", "--json", "--logits"};
  arguments.insert(arguments.end(), prompt.begin(), prompt.end());
  const auto outcome = mlxn(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.json();
}

TEST(CliPerplexity, AgreesWithTheLogits) {
  const TempDir dir;
  const std::string text = "The SELECT statement is used to query the database, and the query planner decides how.";
  const auto path = (dir / "text").string();
  write_file(path, std::vector<std::uint8_t>(text.begin(), text.end()));
  const auto tokens = read_prompt({"-f", path}).at("prompt_tokens").get<std::vector<std::uint32_t>>();
  const std::size_t chunks = tokens.size() / 4;
  ASSERT_GE(chunks, 3u);
  // In chunks of four, the last token of each is scored.
  double sum = 0;
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    const std::vector<std::uint32_t> seen(&tokens[chunk * 4], &tokens[chunk * 4 + 3]);
    const auto logits =
        read_prompt({"--tokens", fmt::format("{}", fmt::join(seen, ","))}).at("logits").get<std::vector<double>>();
    double total = 0;
    for (const double logit : logits) total += std::exp(logit);
    sum += std::log(total) - logits[tokens[chunk * 4 + 3]];
  }
  const auto outcome = mlxn({"perplexity", "-m", dense_model(), "-f", path, "-c", "4", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto json = outcome.json();
  EXPECT_EQ(json.at("chunks"), chunks);
  EXPECT_EQ(json.at("scored_tokens"), chunks);
  EXPECT_NEAR(json.at("perplexity").get<double>() / std::exp(sum / static_cast<double>(chunks)), 1, 1e-4);
}

TEST(CliPerplexity, RunsOverAText) {
  const Arguments arguments = {"perplexity", "-m", moe_model(), "-f", MLXN_SOURCE_DIR "/share/models/README.md",
                               "-c",         "64"};
  const auto outcome = mlxn(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("[1]"));
  EXPECT_THAT(outcome.out, HasSubstr("Final estimate: PPL = "));
  EXPECT_THAT(outcome.out, HasSubstr(" +/- "));
  auto with_json = arguments;
  with_json.push_back("--json");
  const auto json = mlxn(with_json).json();
  EXPECT_GT(json.at("perplexity").get<double>(), 1);
  EXPECT_LT(json.at("perplexity").get<double>(), 4096);  // as good as chance
  EXPECT_GT(json.at("standard_error").get<double>(), 0);
  EXPECT_GT(json.at("scored_tokens").get<int>(), 0);

  for (const Arguments& bad : {Arguments{"-f", "/dev/null"}, {"-f", "/nonexistent"}, {"-f", MLXN_SOURCE_DIR}}) {
    Arguments all = {"perplexity", "-m", moe_model()};
    all.insert(all.end(), bad.begin(), bad.end());
    const auto failed = mlxn(all);
    EXPECT_EQ(failed.code, 1) << failed.err;
    EXPECT_EQ(failed.error_lines(), 1u) << failed.err;
  }
  for (const char* chunk : {"0", "3", "-1", "", "x"})
    EXPECT_EQ(mlxn({"perplexity", "-m", moe_model(), "-f", "/dev/null", "-c", chunk}).code, 2) << chunk;
}

}  // namespace
}  // namespace mlx_native::test
