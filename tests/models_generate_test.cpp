// The generation loop and perplexity.
#include <gtest/gtest.h>

#include <algorithm>

#include "models_support.h"
#include "support/lane.h"
#include "support/synthetic_model.h"

namespace mlx_native {
namespace {

using test::Ids;
using test::must;
using test::SyntheticModel;
using test::values;

class ModelsGenerate : public testing::Test {
 protected:
  Model load(const ModelOptions& options = {}) {
    return must(
        Model::load(must(SyntheticModel::create("llama").write(dir_ / "model.gguf")), test::cpu(2), {}, options));
  }
  test::TempDir dir_;
  const Ids prompt_{7, 0, 39, 12, 3};
};

TEST_F(ModelsGenerate, GreedyIsArgmaxStepByStep) {
  Model model = load();
  const Generation result = must(generate(model, prompt_, {.max_tokens = 10, .keep_prompt_logits = true}));
  EXPECT_EQ(result.stop, StopReason::MaxTokens);
  ASSERT_EQ(result.tokens.size(), 10u);
  EXPECT_EQ(result.timings.prompt_tokens, 5u);
  EXPECT_EQ(result.timings.generated_tokens, 10u);
  EXPECT_GT(result.timings.prompt_tokens_per_second(), 0);
  EXPECT_GT(result.timings.tokens_per_second(), 0);

  model.reset();
  auto logits = values(model.forward(prompt_));
  EXPECT_EQ(logits, result.prompt_logits);
  for (const std::uint32_t id : result.tokens) {
    EXPECT_EQ(id, static_cast<std::uint32_t>(std::ranges::max_element(logits) - logits.begin()));
    logits = values(model.forward({&id, 1}));
  }
}

TEST_F(ModelsGenerate, StopsForEachReason) {
  Model model = load({.context = 12});
  const Ids all = must(generate(model, prompt_, {.max_tokens = 5})).tokens;
  ASSERT_EQ(all.size(), 5u);

  model.reset();
  // The first place where the stop token comes up ends the text, without it.
  const auto first = std::ranges::find(all, all[3]);
  const Generation stopped = must(generate(model, prompt_, {.max_tokens = 5, .stop_tokens = {all[3]}}));
  EXPECT_EQ(stopped.stop, StopReason::StopToken);
  EXPECT_EQ(stopped.tokens, Ids(all.begin(), first));

  model.reset();
  const Generation full = must(generate(model, prompt_, {.max_tokens = 100}));
  EXPECT_EQ(full.stop, StopReason::ContextFull);
  EXPECT_EQ(full.tokens.size(), 8u) << "7 that the cache has room for, and the one that follows";
  EXPECT_EQ(model.position(), 12u);

  model.reset();
  Ids seen;
  const Generation cancelled = must(generate(model, prompt_, {.max_tokens = 5, .on_token = [&](std::uint32_t id) {
                                                                seen.push_back(id);
                                                                return seen.size() < 2;
                                                              }}));
  EXPECT_EQ(cancelled.stop, StopReason::Cancelled);
  EXPECT_EQ(cancelled.tokens, seen);
  EXPECT_EQ(seen.size(), 2u);

  model.reset();
  EXPECT_EQ(must(generate(model, prompt_, {.keep_going = [] { return false; }})).stop, StopReason::Cancelled);
  EXPECT_EQ(model.position(), 0u);
  EXPECT_TRUE(must(generate(model, prompt_, {.max_tokens = 0})).tokens.empty());
}

TEST_F(ModelsGenerate, SamplingIsSeeded) {
  Model model = load();
  const auto run = [&](std::uint64_t seed, float penalty) {
    model.reset();
    GenerateOptions options{.max_tokens = 40};
    options.sampling = {.n_vocab = 0, .repeat_penalty = penalty, .temperature = 1.5f, .seed = seed};
    return must(generate(model, prompt_, options)).tokens;
  };
  EXPECT_EQ(run(1, 1.0f), run(1, 1.0f));
  EXPECT_NE(run(1, 1.0f), run(2, 1.0f));
  EXPECT_NE(run(1, 1.0f), run(1, 1.8f));
}

TEST_F(ModelsGenerate, ThePenaltySeesPromptAndText) {
  Model model = load();
  // A penalty beyond all logits: greedy never repeats a token of the window.
  for (const std::uint32_t window : {64u, UINT32_MAX}) {
    GenerateOptions options{.max_tokens = 20, .penalty_window = window};
    options.sampling = {.n_vocab = 0, .repeat_penalty = 1e6f, .temperature = 0.0f};
    Ids all = must(generate(model, prompt_, options)).tokens;
    model.reset();
    all.insert(all.end(), prompt_.begin(), prompt_.end());
    std::ranges::sort(all);
    // Tokens with a negative logit are only pushed further down, so the first 20 of 40 are new.
    EXPECT_EQ(std::ranges::adjacent_find(all), all.end()) << window;
  }
}

TEST_F(ModelsGenerate, BadInputIsAnError) {
  Model model = load({.context = 8});
  EXPECT_FALSE(generate(model, {}).has_value());
  EXPECT_FALSE(generate(model, Ids{1, 40}).has_value());
  EXPECT_FALSE(generate(model, Ids(9, 1)).has_value());
  GenerateOptions options;
  options.sampling.temperature = -1;
  EXPECT_EQ(generate(model, prompt_, options).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(model.position(), 0u) << "it was looked at before the prompt ran";
  EXPECT_FALSE(perplexity(model, Ids(20, 1), {.chunk = 9}).has_value());
  EXPECT_FALSE(perplexity(model, Ids(20, 1), {.chunk = 3}).has_value());
  EXPECT_FALSE(perplexity(model, Ids(7, 1), {.chunk = 8}).has_value());
  EXPECT_FALSE(perplexity(model, Ids(20, 40), {.chunk = 8}).has_value());
  EXPECT_FALSE(perplexity(model, Ids(20, 1), {.chunk = 8, .bos = 40}).has_value());
}

TEST_F(ModelsGenerate, LogitsThatAreNoNumbersAreAnError) {
  SyntheticModel spoilt = SyntheticModel::create("llama");
  std::ranges::fill(spoilt.tensor("output_norm.weight").values, 3e38f);  // products overflow, and sums of them are NaN
  Model model = must(Model::load(must(spoilt.write(dir_ / "spoilt.gguf")), test::cpu(1), {}));
  const auto expect_error = [](const auto& result) {
    ASSERT_FALSE(result.has_value());
    EXPECT_NE(result.error().message.find("NaN"), std::string::npos) << result.error().message;
  };
  expect_error(generate(model, prompt_));
  expect_error(perplexity(model, Ids(20, 1), {.chunk = 10}));
}

TEST_F(ModelsGenerate, AScoredLogitOfMinusInfinityIsAnError) {
  for (const float sign : {1.0f, -1.0f}) {  // one of them makes it +infinite
    SyntheticModel spoilt = SyntheticModel::create("llama", GgmlType::F32);
    auto& norm = spoilt.tensor("output_norm.weight").values;
    std::ranges::fill(norm, 0.0f);
    norm[0] = 1e3f;
    auto& output = spoilt.tensor("output.weight");
    output.values[output.shape.back()] = sign * 3e38f;  // of token 1
    Model model = must(Model::load(must(spoilt.write(dir_ / "spoilt.gguf")), test::cpu(1), {}));
    const auto result = perplexity(model, Ids(20, 1), {.chunk = 10});
    ASSERT_FALSE(result.has_value()) << result->value;
    EXPECT_NE(result.error().message.find("infinite"), std::string::npos) << result.error().message;
  }
}

TEST_F(ModelsGenerate, PerplexityIsThatOfTheSecondHalves) {
  Model model = load();
  Ids tokens;
  for (std::uint32_t i = 0; i < 37; ++i) tokens.push_back(i * 17 % 40);
  std::vector<std::uint32_t> chunks_seen;
  const auto result = must(perplexity(
      model, tokens, {.chunk = 10, .bos = 2, .on_chunk = [&](auto done, auto chunks, const Perplexity& so_far) {
                        chunks_seen.push_back(done);
                        EXPECT_EQ(chunks, 3u);
                        EXPECT_EQ(so_far.scored_tokens, done * 4u);
                        return true;
                      }}));
  EXPECT_EQ(chunks_seen, (Ids{1, 2, 3}));
  EXPECT_EQ(result.scored_tokens, 12u);

  std::vector<double> nll;
  for (std::size_t chunk = 0; chunk < 3; ++chunk) {
    Ids part(tokens.begin() + static_cast<std::ptrdiff_t>(chunk * 10),
             tokens.begin() + static_cast<std::ptrdiff_t>(chunk * 10 + 10));
    part[0] = 2;
    model.reset();
    for (std::size_t i = 0; i < 9; ++i) {
      const auto logits = values(model.forward({&part[i], 1}));
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
      if (i >= 5) nll.push_back(std::log(sum) - static_cast<double>(logits[part[i + 1]]));
    }
  }
  double mean = 0, variance = 0;
  for (const double x : nll) mean += x / 12;
  for (const double x : nll) variance += (x - mean) * (x - mean) / 12;
  EXPECT_NEAR(result.value, std::exp(mean), 1e-4 * std::exp(mean));
  EXPECT_NEAR(result.standard_error, std::exp(mean) * std::sqrt(variance / 11), 1e-3 * std::exp(mean));
}

TEST(ModelsPerplexity, EmbeddedModelsKnowTheirTexts) {
  for (const char* name : {"docs-dense", "docs-moe"}) {
    const GgufFile file = test::embedded_model(name);
    const auto tokenizer = must(Tokenizer::load(file));
    std::string text;
    for (int i = 0; i < (test::kSlow ? 4 : 8); ++i)
      text +=
          "The SELECT statement is used to query the database. The result of a SELECT is zero or more rows of data "
          "where each row has a fixed number of columns. In Python, a list is a sequence of objects.\n";
    Model model = must(Model::load(file, test::cpu(2), {}, {.context = 128}));
    const auto known = must(perplexity(model, must(tokenizer.encode(text)), {.chunk = 128}));
    EXPECT_LT(known.value, 60) << name;
    std::string shuffled = text;
    std::ranges::reverse(shuffled);
    const auto nonsense = must(perplexity(model, must(tokenizer.encode(shuffled)), {.chunk = 128}));
    EXPECT_GT(nonsense.value, 2 * known.value) << name;
  }
}

}  // namespace
}  // namespace mlx_native
