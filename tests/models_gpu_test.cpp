// Forward passes and generation on every GPU of the machine, the emulator included: the embedded models.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models_support.h"
#include "support/backends.h"
#include "support/lane.h"
#include "support/numbers.h"

namespace mlx_native {
namespace {

using test::Ids;
using test::must;
using test::relative_error;
using test::values;

class GpuForward : public testing::TestWithParam<std::tuple<Backend, std::string>> {
 protected:
  /// The emulator takes a tenth of a second per token.
  bool slow() const { return backend_ == Backend::Emulator; }
  Model load(const ModelOptions& options) const { return must(Model::load(file_, device_, {}, options)); }

  struct Case {
    Ids prompt, greedy;
    std::vector<double> logits;
  };
  /// Prompts, what follows them, and the logits of their last tokens.
  std::vector<Case> cases() const {
    std::ifstream stream(std::string(MLXN_SOURCE_DIR) + "/tests/models/" + name_ + ".q4_k_m.reference.json");
    std::vector<Case> all;
    for (const auto& c : nlohmann::json::parse(stream))
      all.push_back({c["ids"].get<Ids>(), c["greedy_ids"].get<Ids>(), c["logits"].get<std::vector<double>>()});
    if (slow()) all.resize(1);
    return all;
  }

  Backend backend_ = std::get<0>(GetParam());
  std::string name_ = std::get<1>(GetParam());
  GgufFile file_ = test::embedded_model(name_);
  MlxDevice device_ = must(MlxDevice::create(backend_));
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GpuForward);
INSTANTIATE_TEST_SUITE_P(Devices, GpuForward,
                         testing::Combine(testing::ValuesIn(test::gpus()), testing::Values("docs-dense", "docs-moe")),
                         [](const auto& param) {
                           return std::string(backend_name(std::get<0>(param.param))) +
                                  (std::get<1>(param.param) == "docs-dense" ? "_dense" : "_moe");
                         });

TEST_P(GpuForward, LogitsAndGreedyIdsOfTheReference) {
  Model model = load({.context = 256});
  for (const Case& c : cases()) {
    model.reset();
    const std::size_t all = c.greedy.size() - c.prompt.size(), n = slow() ? std::min<std::size_t>(all, 4) : all;
    const Generation result =
        must(generate(model, c.prompt, {.max_tokens = static_cast<std::uint32_t>(n), .keep_prompt_logits = true}));
    EXPECT_LE(relative_error(result.prompt_logits, c.logits), 1e-4);
    const auto begin = c.greedy.begin() + static_cast<std::ptrdiff_t>(c.prompt.size());
    EXPECT_EQ(result.tokens, Ids(begin, begin + static_cast<std::ptrdiff_t>(n)));
  }
}

TEST_P(GpuForward, PrefillInChunksAgreesAndRepeatsItsBits) {
  if (test::kSlow) GTEST_SKIP() << "minutes, by the kernels of the test before";
  Ids prompt = cases().back().prompt;
  if (slow()) prompt = {318, 1530, 862, 291, 259, 1530, 862};
  Model whole = load({.context = 200}), parts = load({.context = 200, .prefill_chunk = 5});
  const auto expected = values(whole.forward(prompt));
  EXPECT_LE(relative_error(values(parts.forward(prompt)), expected), 1e-4);
  whole.reset();
  EXPECT_EQ(values(whole.forward(prompt)), expected);
}

TEST_P(GpuForward, StepsGoOnWhereKeysBecomeMany) {
  if (slow()) GTEST_SKIP() << "minutes, by the kernels of the test before";
  const Ids words = cases().front().prompt;
  Ids prompt;
  while (prompt.size() < 510) prompt.push_back(words[prompt.size() % words.size()]);
  const ModelOptions options{.context = 600, .precision = Precision::Full};
  Model steps = load(options), whole = load(options);
  must(steps.forward(prompt));
  for (const std::uint32_t id : {318u, 1530u, 862u, 291u}) {
    prompt.push_back(id);
    whole.reset();
    EXPECT_LE(relative_error(values(steps.forward({&id, 1})), values(whole.forward(prompt))), 1e-4);
  }
}

TEST_P(GpuForward, SamplesFromAHalfPrecisionCache) {
  if (test::kSlow && name_ != "docs-moe") GTEST_SKIP() << "one model is enough here";
  const Ids prompt = cases().front().prompt;
  const auto run = [&](const MlxDevice& device) {
    Model model = must(Model::load(file_, device, {}, {.context = 64, .kv_dtype = DType::F16}));
    GenerateOptions options{.max_tokens = 4};
    options.sampling = {.n_vocab = 0,
                        .repeat_penalty = 1.1f,
                        .temperature = 0.8f,
                        .top_k = 40,
                        .top_p = 0.95f,
                        .min_p = 0.05f,
                        .seed = 3};
    return must(generate(model, prompt, options)).tokens;
  };
  EXPECT_EQ(run(device_), run(test::cpu(2))) << "logits that differ by 1e-5 draw the same tokens but for rare luck";
}

}  // namespace
}  // namespace mlx_native
