// Forward passes: the embedded models against their float64 references, tiny random models against a plain float64
// transformer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models_support.h"
#include "support/lane.h"
#include "support/numbers.h"
#include "support/reference_model.h"

namespace mlx_native {
namespace {

using test::Ids;
using test::must;
using test::relative_error;
using test::SyntheticModel;
using test::values;

Model load(const GgufFile& file, const ModelOptions& options = {}, std::uint32_t threads = 2) {
  return must(Model::load(file, test::cpu(threads), {}, options));
}

nlohmann::json reference(const std::string& name) {
  std::ifstream stream(std::string(MLXN_SOURCE_DIR) + "/tests/models/" + name + ".q4_k_m.reference.json");
  return nlohmann::json::parse(stream);
}

class EmbeddedForward : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Models, EmbeddedForward, testing::Values("docs-dense", "docs-moe"),
                         [](const auto& param) { return param.param == "docs-dense" ? "Dense" : "Moe"; });

TEST_P(EmbeddedForward, LogitsAndGreedyIdsOfTheReference) {
  Model model = load(test::embedded_model(GetParam()), {.context = 256});
  const auto cases = reference(GetParam());
  ASSERT_GE(cases.size(), 3u);
  for (const auto& c : cases) {
    const auto prompt = c["ids"].get<Ids>(), greedy = c["greedy_ids"].get<Ids>();
    model.reset();
    const Generation result = must(generate(
        model, prompt,
        {.max_tokens = static_cast<std::uint32_t>(greedy.size() - prompt.size()), .keep_prompt_logits = true}));
    EXPECT_LE(relative_error(result.prompt_logits, c["logits"].get<std::vector<double>>()), 1e-4);
    Ids all = prompt;
    all.insert(all.end(), result.tokens.begin(), result.tokens.end());
    EXPECT_EQ(all, greedy);
    if (test::kSlow) break;
  }
}

TEST_P(EmbeddedForward, PrefillInChunksOfAnySizeAgrees) {
  const GgufFile file = test::embedded_model(GetParam());
  const auto prompt = reference(GetParam()).back()["ids"].get<Ids>();
  Model whole = load(file, {.context = 128});
  const auto expected = values(whole.forward(prompt));
  for (const std::uint32_t chunk : {7u, 1u, 33u}) {
    Model model = load(file, {.context = 128, .prefill_chunk = chunk});
    EXPECT_LE(relative_error(values(model.forward(prompt)), expected), 1e-4) << chunk;
    if (test::kSlow) break;
  }
  whole.reset();
  std::vector<float> last;
  for (const std::uint32_t id : prompt) last = values(whole.forward({&id, 1}));
  EXPECT_LE(relative_error(last, expected), 1e-4);
  EXPECT_EQ(whole.position(), prompt.size());
}

TEST_P(EmbeddedForward, AnyNumberOfThreadsGivesTheSameBits) {
  const GgufFile file = test::embedded_model(GetParam());
  const auto c = reference(GetParam()).back();
  const auto prompt = c["ids"].get<Ids>();
  std::vector<std::vector<float>> prefill, decode;
  for (const std::uint32_t threads : {1u, 2u, 4u, 1u}) {
    Model model = load(file, {.context = 128}, threads);
    prefill.push_back(values(model.forward(prompt)));
    for (const std::uint32_t id : {5u, 600u, 4095u}) decode.push_back(values(model.forward({&id, 1})));
  }
  for (std::size_t i = 1; i < prefill.size(); ++i) {
    EXPECT_EQ(prefill[i], prefill[0]);
    for (std::size_t step = 0; step < 3; ++step) EXPECT_EQ(decode[3 * i + step], decode[step]);
  }
}

TEST_P(EmbeddedForward, HalfPrecisionCacheStaysClose) {
  const GgufFile file = test::embedded_model(GetParam());
  const auto c = reference(GetParam()).back();
  Model single = load(file, {.context = 128}), half = load(file, {.context = 128, .kv_dtype = DType::F16});
  const auto logits = values(half.forward(c["ids"].get<Ids>()));
  const double error = relative_error(logits, c["logits"].get<std::vector<double>>());
  EXPECT_LE(error, 5e-3);
  EXPECT_GT(error, 1e-6) << "the cache is not rounded to f16";
  EXPECT_EQ(2 * half.memory().kv_cache, single.memory().kv_cache);
}

TEST_P(EmbeddedForward, MemoryIsWhatItSays) {
  const GgufFile file = test::embedded_model(GetParam());
  std::uint64_t tensors = 0;
  for (const TensorInfo& info : file.tensors()) tensors += info.byte_len;
  const Model model = load(file, {.context = 100, .prefill_chunk = 500});
  const ModelConfig& config = model.config();
  EXPECT_EQ(model.memory().weights, tensors);
  EXPECT_EQ(model.memory().kv_cache,
            std::uint64_t{2} * config.n_layers * config.n_kv_heads * config.head_dim * 100 * sizeof(float));
  EXPECT_EQ(model.prefill_chunk(), 100u);
  EXPECT_GT(model.memory().activations, std::uint64_t{100} * config.dim * sizeof(float) * 3);
  EXPECT_EQ(load(file).context(), 2048u);
  const ModelMemory needed = memory_needed(file, {.context = 100, .prefill_chunk = 500}).value();
  EXPECT_EQ(needed.weights, tensors);
  EXPECT_EQ(needed.kv_cache, model.memory().kv_cache);
  EXPECT_EQ(needed.activations, model.memory().activations);
  EXPECT_EQ(memory_needed(file, {.context = 1u << 30}).error().kind, ErrorKind::InvalidArgument);
}

TEST(MemoryNeeded, IsNoSumThatWraps) {
  const test::TempDir dir;
  must(SyntheticModel::create("qwen3").write(dir / "m.gguf"));
  auto bytes = test::read_file(dir / "m.gguf");
  const std::string name = "output_norm.weight";
  const auto at = std::search(bytes.begin(), bytes.end(), name.begin(), name.end());
  ASSERT_NE(at, bytes.end());
  // Behind the name the number of dimensions, the extent, the type.
  const std::uint64_t extent = std::uint64_t{1} << 62;
  const std::uint32_t type = 77;
  std::memcpy(&*at + name.size() + 4, &extent, sizeof extent);
  std::memcpy(&*at + name.size() + 12, &type, sizeof type);
  test::write_file(dir / "m.gguf", bytes);
  const auto needed = memory_needed(must(GgufFile::open(dir / "m.gguf")));
  ASSERT_FALSE(needed.has_value());
  EXPECT_EQ(needed.error().kind, ErrorKind::BufferAllocationError);
}

struct Variant {
  const char* name;
  const char* architecture;
  GgmlType type;
  test::ReferenceStyle style;
  void (*change)(SyntheticModel&);
};

void add_biases(SyntheticModel& m) {
  for (const std::string blk : {"blk.0.", "blk.1."}) {
    m.add(blk + "attn_q.bias", {64}, GgmlType::F32, 0.0f, 0.5f);
    m.add(blk + "attn_k.bias", {32}, GgmlType::F32, 0.0f, 0.5f);
    m.add(blk + "attn_v.bias", {32}, GgmlType::F16, 0.0f, 0.5f);
    m.add(blk + "attn_output.bias", {64}, GgmlType::F32, 0.0f, 0.5f);
    m.add(blk + "ffn_down.bias", {64}, GgmlType::F32, 0.0f, 0.5f);
  }
}

const Variant kVariants[] = {
    {"Llama", "llama", GgmlType::F32, {.adjacent_pairs = true}, [](SyntheticModel&) {}},
    {"LlamaTied",
     "llama",
     GgmlType::Q8_0,
     {.adjacent_pairs = true},
     [](SyntheticModel& m) { m.drop("output.weight"); }},
    {"LlamaBiases", "llama", GgmlType::F16, {.adjacent_pairs = true}, add_biases},
    {"LlamaFrequencyFactors",
     "llama",
     GgmlType::BF16,
     {.adjacent_pairs = true},
     [](SyntheticModel& m) { m.add("rope_freqs.weight", {8}, GgmlType::F32, 3.0f, 0.8f); }},
    {"LlamaPartialRotation",
     "llama",
     GgmlType::F32,
     {.adjacent_pairs = true, .rope_dim = 10},
     [](SyntheticModel& m) { m.set(".rope.dimension_count", 10u); }},
    {"LlamaLinearScaling",
     "llama",
     GgmlType::F32,
     {.adjacent_pairs = true, .freq_scale = 0.25},
     [](SyntheticModel& m) {
       m.set(".rope.scaling.type", "linear");
       m.set(".rope.scaling.factor", 4.0f);
     }},
    {"LlamaScalingOfNoType",
     "llama",
     GgmlType::F32,
     {.adjacent_pairs = true, .freq_scale = 0.25},
     [](SyntheticModel& m) { m.set(".rope.scaling.factor", 4.0f); }},
    {"LlamaNoScaling",
     "llama",
     GgmlType::F32,
     {.adjacent_pairs = true},
     [](SyntheticModel& m) {
       m.set(".rope.scaling.type", "none");
       m.set(".rope.scaling.factor", 4.0f);
     }},
    {"LlamaWithDefaults",
     "llama",
     GgmlType::F32,
     {.adjacent_pairs = true},
     [](SyntheticModel& m) {
       m.erase(".attention.key_length");
       m.erase(".attention.value_length");
       m.erase(".rope.dimension_count");
     }},
    {"Qwen3", "qwen3", GgmlType::Q4_0, {.head_norms = true}, [](SyntheticModel&) {}},
    {"Qwen3PartialRotation",
     "qwen3",
     GgmlType::F32,
     {.head_norms = true, .rope_dim = 10},
     [](SyntheticModel& m) { m.set(".rope.dimension_count", 10u); }},
    {"Qwen3Moe", "qwen3moe", GgmlType::Q8_0, {.head_norms = true, .experts = true}, [](SyntheticModel&) {}},
};

class SyntheticForward : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Models, SyntheticForward, testing::ValuesIn(kVariants),
                         [](const auto& param) { return param.param.name; });

TEST_P(SyntheticForward, EveryTokenAsThePlainTransformer) {
  const Variant& variant = GetParam();
  SyntheticModel m = SyntheticModel::create(variant.architecture, variant.type);
  variant.change(m);
  const test::TempDir dir;
  const auto file = must(m.write(dir / "model.gguf"));
  const Ids tokens{7, 0, 39, 12, 12, 3, 28, 31, 5, 17, 22, 9, 1};
  const auto expected = test::ReferenceModel(m, variant.style).logits(tokens);

  Model model = load(file, {.prefill_chunk = 5, .precision = Precision::Full});
  const auto all = values(model.forward_all(tokens));
  ASSERT_EQ(all.size(), tokens.size() * SyntheticModel::kVocab);
  for (std::size_t t = 0; t < tokens.size(); ++t)
    EXPECT_LE(relative_error(std::span(all).subspan(t * SyntheticModel::kVocab, SyntheticModel::kVocab), expected[t]),
              2e-5)
        << t;
  model.reset();
  for (std::size_t t = 0; t < tokens.size(); ++t)
    EXPECT_LE(relative_error(values(model.forward({&tokens[t], 1})), expected[t]), 2e-5) << t;
  model.reset();
  EXPECT_LE(relative_error(values(model.forward(tokens)), expected.back()), 2e-5);
}

TEST(ModelSequence, RewindAndReset) {
  const test::TempDir dir;
  Model model = load(must(SyntheticModel::create("llama").write(dir / "model.gguf")));
  const Ids start{1, 2, 3, 4}, wrong{9, 9, 9}, right{5, 6};
  must(model.forward(start));
  const auto expected = values(model.forward(right));
  ASSERT_TRUE(model.rewind(4).has_value());
  must(model.forward(wrong));
  ASSERT_TRUE(model.rewind(4).has_value());
  EXPECT_EQ(values(model.forward(right)), expected);
  EXPECT_FALSE(model.rewind(7).has_value());
  model.reset();
  EXPECT_EQ(model.position(), 0u);
  must(model.forward(start));
  EXPECT_EQ(values(model.forward(right)), expected);
}

TEST(ModelSequence, WhatDoesNotFitIsAnErrorAndChangesNothing) {
  const test::TempDir dir;
  Model model = load(must(SyntheticModel::create("llama").write(dir / "model.gguf")), {.context = 6});
  const Ids four{1, 2, 3, 4}, three{1, 2, 3}, foreign{1, 40};
  EXPECT_FALSE(model.forward({}).has_value());
  EXPECT_FALSE(model.forward(foreign).has_value());
  EXPECT_FALSE(model.forward_all(foreign).has_value());
  EXPECT_EQ(model.position(), 0u);
  must(model.forward(four));
  const auto full = model.forward(three);
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(model.position(), 4u);
  EXPECT_TRUE(model.forward(std::span(three).first(2)).has_value());
  EXPECT_FALSE(model.forward(std::span(three).first(1)).has_value());
}

}  // namespace
}  // namespace mlx_native
