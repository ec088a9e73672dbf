#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>

#include "cli/process.h"
#include "models_support.h"
#include "support/lane.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;
using Arguments = std::vector<std::string>;

Outcome synth(const std::filesystem::path& out, Arguments more) {
  Arguments arguments = {"synth", "-o", out.string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return mlxn(arguments);
}

struct Moments {
  double mean, deviation, least, most;
};

Moments moments(std::span<const float> values) {
  Moments m{0, 0, INFINITY, -INFINITY};
  const auto count = static_cast<double>(values.size());
  for (const float value : values) m = {m.mean + value / count, 0, std::fmin(m.least, value), std::fmax(m.most, value)};
  for (const float value : values) m.deviation += std::pow(value - m.mean, 2) / count;
  m.deviation = std::sqrt(m.deviation);
  return m;
}

TEST(CliSynth, ModelsLoadAndTheirLogitsAreSpread) {
  const TempDir dir;
  const auto path = dir / "model.gguf";
  for (const char* architecture : {"qwen3", "qwen3moe"}) {
    for (const char* type : {"q4_k_m", "f32", "q8_0", "q4_0", "f16"}) {
      if (kSlow && type == std::string_view("q8_0")) break;
      const auto outcome = synth(path, {"--arch", architecture, "--preset", "tiny", "--type", type});
      ASSERT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_THAT(outcome.out, HasSubstr(std::string(architecture) + " tiny, 2 layers"));
      EXPECT_THAT(outcome.out, HasSubstr(type));
      const auto file = must(GgufFile::open(path));
      auto model = must(Model::load(file, cpu(2), KernelRegistry()));
      const auto logits = moments(values(model.forward(Ids{1, 2, 3, 1000})));
      EXPECT_NEAR(logits.mean, 0, 0.3) << type;
      EXPECT_NEAR(logits.deviation, 1, 0.3) << type;
      EXPECT_LT(logits.most, 8) << type;
    }
  }
}

TEST(CliSynth, TokenizerTakesAnyText) {
  const TempDir dir;
  ASSERT_EQ(synth(dir / "model.gguf", {"--arch", "qwen3", "--preset", "tiny", "--type", "f16"}).code, 0);
  const auto tokenizer = must(Tokenizer::load(must(GgufFile::open(dir / "model.gguf"))));
  EXPECT_EQ(tokenizer.vocab_size(), 1024u);
  const std::string text = "the quick brown fox, 1234\n\xc3\xa9\xff";
  const auto ids = must(tokenizer.encode(text));
  EXPECT_LT(ids.size(), text.size());
  EXPECT_EQ(must(tokenizer.decode(ids)), text);
  EXPECT_EQ(must(tokenizer.encode("<|im_end|>")), Ids{1002});
  EXPECT_TRUE(tokenizer.is_end(1000));
  EXPECT_TRUE(tokenizer.is_end(1002));
  EXPECT_EQ(tokenizer.kind(1003), TokenKind::Unused);
}

TEST(CliSynth, WeightsAreTwoSidedAndKeepTheVariance) {
  const TempDir dir;
  const auto path = dir / "model.gguf";
  for (const char* type : {"q4_k", "bf16", "q6_k", "q5_0"}) {
    if (kSlow && type == std::string_view("q6_k")) break;
    ASSERT_EQ(synth(path, {"--arch", "qwen3moe", "--preset", "tiny", "--type", type}).code, 0);
    const auto file = must(GgufFile::open(path));
    for (const char* name : {"token_embd.weight", "blk.1.attn_output.weight", "blk.0.ffn_down_exps.weight"}) {
      const auto weight = values(file.load_tensor_f32(name, cpu(1)));
      const double expected = 1 / std::sqrt(static_cast<double>(file.tensor_info(name)->shape.back()));
      const auto found = moments(weight);
      EXPECT_NEAR(found.mean, 0, 0.02 * expected) << name;
      EXPECT_NEAR(found.deviation, expected, 0.02 * expected) << name << type;
      EXPECT_LT(found.least, -3 * expected);
      EXPECT_GT(found.most, 3 * expected);
    }
    const auto norm = moments(values(file.load_tensor_f32("output_norm.weight", cpu(1))));
    EXPECT_NEAR(norm.mean, 1, 0.05);
    EXPECT_NEAR(norm.deviation, 0.1, 0.03);
  }
}

TEST(CliSynth, ShapeOfTheRealModelAndItsMix) {
  const TempDir dir;
  const auto path = dir / "model.gguf";
  const auto outcome = synth(path, {"--arch", "qwen3", "--preset", "0.6b", "--layers", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto file = must(GgufFile::open(path));
  const auto config = must(read_model_config(file));
  EXPECT_EQ(config.n_vocab, 151936u);
  EXPECT_EQ(config.n_layers, 1u);
  EXPECT_EQ(config.dim, 1024u);
  EXPECT_EQ(config.ffn_dim, 3072u);
  EXPECT_EQ(config.n_heads, 16u);
  EXPECT_EQ(config.n_kv_heads, 8u);
  EXPECT_EQ(config.head_dim, 128u);
  EXPECT_EQ(config.rope_theta, 1e6f);
  EXPECT_EQ(config.context_length, 40960u);
  EXPECT_EQ(file.tensor_info("output.weight"), nullptr);
  EXPECT_EQ(file.tensor_info("token_embd.weight")->ggml_type, GgmlType::Q6_K);
  EXPECT_EQ(file.tensor_info("blk.0.attn_q.weight")->ggml_type, GgmlType::Q4_K);
  EXPECT_EQ(file.tensor_info("blk.0.attn_q.weight")->shape, (Shape{2048, 1024}));
  EXPECT_EQ(file.tensor_info("blk.1.attn_q.weight"), nullptr);
  EXPECT_EQ(must(Tokenizer::load(file)).vocab_size(), 151936u);
}

TEST(CliSynth, TheSeedAloneMakesTheBytes) {
  const TempDir dir;
  const auto path = dir / "model.gguf";
  const auto bytes = [&](const char* seed, const char* threads) {
    EXPECT_EQ(synth(path, {"--arch", "qwen3", "--preset", "tiny", "--type", "q8_0", "-s", seed, "-t", threads}).code,
              0);
    return read_file(path);
  };
  const auto first = bytes("7", "1");
  EXPECT_EQ(first, bytes("7", "3"));
  EXPECT_NE(first, bytes("8", "3"));
}

TEST(CliSynth, WrongUsageAndBadInputLeaveNothing) {
  const TempDir dir;
  const auto path = dir / "model.gguf";
  for (const Arguments& more : std::vector<Arguments>{{},
                                                      {"--arch", "qwen3"},
                                                      {"--arch", "qwen3", "--preset", "30b-a3b"},
                                                      {"--arch", "llama", "--preset", "8b"},
                                                      {"--arch", "qwen3", "--preset", "tiny", "--type", "q9"},
                                                      {"--arch", "qwen3", "--preset", "tiny", "--layers", "3"},
                                                      {"--arch", "qwen3", "--preset", "tiny", "--seed", "-1"}}) {
    const auto outcome = synth(path, more);
    EXPECT_EQ(outcome.code, 2) << testing::PrintToString(more) << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  }
  for (const auto& out : {dir / "absent" / "model.gguf", std::filesystem::path("/dev/full")}) {
    const auto outcome = synth(out, {"--arch", "qwen3", "--preset", "tiny"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(CliSynth, InterruptLeavesNothing) {
  for (const int signal : {SIGINT, SIGHUP}) {
    const TempDir dir;
    Mlxn process({"synth", "--arch", "qwen3", "--preset", "0.6b", "--type", "f32", "-o", (dir / "out.gguf").string()});
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (dir.entries() == 0 && std::chrono::steady_clock::now() < limit)
      continue;  // until there is the temporary file
    process.signal(signal);
    EXPECT_EQ(process.wait().code, 128 + signal);
    EXPECT_EQ(dir.entries(), 0u);
  }
}

}  // namespace
}  // namespace mlx_native::test
