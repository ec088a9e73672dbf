// Models that cannot be: each ends in an error value that names the place, before memory is spent on it.
#include <gtest/gtest.h>

#include <limits>

#include "models_support.h"
#include "support/synthetic_model.h"

namespace mlx_native {
namespace {

using test::SyntheticModel;

constexpr std::uint32_t kHuge = std::numeric_limits<std::uint32_t>::max();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  const char* name;
  const char* architecture;
  void (*spoil)(SyntheticModel&);
  const char* message;  ///< what the error must name
  ErrorKind kind = ErrorKind::GgufParseError;
};

const Case kCases[] = {
    {"architecture missing", "llama", [](SyntheticModel& m) { m.erase("general.architecture"); },
     "general.architecture"},
    {"architecture is a number", "llama", [](SyntheticModel& m) { m.set("general.architecture", 3u); },
     "general.architecture"},
    {"architecture unknown", "llama", [](SyntheticModel& m) { m.set("general.architecture", "qwen99"); }, "\"qwen99\""},
    {"architecture empty", "llama", [](SyntheticModel& m) { m.set("general.architecture", ""); }, "\"\""},

    {"block_count missing", "llama", [](SyntheticModel& m) { m.erase(".block_count"); }, "llama.block_count"},
    {"block_count 0", "llama", [](SyntheticModel& m) { m.set(".block_count", 0u); }, "llama.block_count is 0"},
    {"block_count 513", "qwen3", [](SyntheticModel& m) { m.set(".block_count", 513u); }, "qwen3.block_count is 513"},
    {"block_count 2^32-1", "qwen3", [](SyntheticModel& m) { m.set(".block_count", kHuge); }, "4294967295"},
    {"block_count 2^64-1", "qwen3", [](SyntheticModel& m) { m.set(".block_count", ~std::uint64_t{0}); },
     "18446744073709551615"},
    {"block_count is a string", "qwen3", [](SyntheticModel& m) { m.set(".block_count", "2"); }, "qwen3.block_count"},
    {"block_count is an array", "qwen3",
     [](SyntheticModel& m) {
       m.set(".block_count", SyntheticModel::array(std::vector<std::uint32_t>{2, 2}));
     },
     "qwen3.block_count"},
    {"block_count is negative", "qwen3", [](SyntheticModel& m) { m.set(".block_count", -2); }, "qwen3.block_count"},
    {"block_count above the tensors", "llama", [](SyntheticModel& m) { m.set(".block_count", 3u); },
     "blk.2.attn_norm.weight is missing"},
    {"block_count below the tensors", "llama", [](SyntheticModel& m) { m.set(".block_count", 1u); }, "has no place"},

    {"context_length missing", "llama", [](SyntheticModel& m) { m.erase(".context_length"); }, "llama.context_length"},
    {"context_length 0", "llama", [](SyntheticModel& m) { m.set(".context_length", 0u); }, "llama.context_length is 0"},
    {"context_length 2^32-1", "llama", [](SyntheticModel& m) { m.set(".context_length", kHuge); },
     "llama.context_length is 4294967295"},
    {"context_length is a float", "llama", [](SyntheticModel& m) { m.set(".context_length", 64.5f); },
     "llama.context_length"},

    {"embedding_length missing", "llama", [](SyntheticModel& m) { m.erase(".embedding_length"); },
     "llama.embedding_length"},
    {"embedding_length 0", "llama", [](SyntheticModel& m) { m.set(".embedding_length", 0u); },
     "llama.embedding_length is 0"},
    {"embedding_length of another model", "llama", [](SyntheticModel& m) { m.set(".embedding_length", 128u); },
     "token_embd.weight"},
    {"embedding_length huge", "llama", [](SyntheticModel& m) { m.set(".embedding_length", kHuge); },
     "llama.embedding_length is 4294967295"},
    {"feed_forward_length missing", "llama", [](SyntheticModel& m) { m.erase(".feed_forward_length"); },
     "llama.feed_forward_length"},
    {"feed_forward_length of another model", "llama", [](SyntheticModel& m) { m.set(".feed_forward_length", 97u); },
     "blk.0.ffn_gate.weight"},

    {"head_count missing", "qwen3", [](SyntheticModel& m) { m.erase(".attention.head_count"); },
     "qwen3.attention.head_count"},
    {"head_count 0", "qwen3", [](SyntheticModel& m) { m.set(".attention.head_count", 0u); },
     "qwen3.attention.head_count is 0"},
    {"head_count huge", "qwen3", [](SyntheticModel& m) { m.set(".attention.head_count", kHuge); }, "4294967295"},
    {"head_count_kv 0", "qwen3", [](SyntheticModel& m) { m.set(".attention.head_count_kv", 0u); },
     "qwen3.attention.head_count_kv is 0"},
    {"head_count_kv above head_count", "qwen3", [](SyntheticModel& m) { m.set(".attention.head_count_kv", 8u); },
     "qwen3.attention.head_count_kv, 8"},
    {"head_count_kv does not divide", "qwen3", [](SyntheticModel& m) { m.set(".attention.head_count_kv", 3u); },
     "not a multiple"},
    {"head_count_kv for each layer", "qwen3",
     [](SyntheticModel& m) {
       m.set(".attention.head_count_kv", SyntheticModel::array(std::vector<std::uint32_t>{2, 4}));
     },
     "qwen3.attention.head_count_kv"},
    {"heads do not divide the width", "llama",
     [](SyntheticModel& m) {
       m.erase(".attention.key_length");
       m.set(".attention.head_count", 3u);
       m.set(".attention.head_count_kv", 3u);
     },
     "llama.embedding_length is 64"},
    {"key_length 0", "qwen3", [](SyntheticModel& m) { m.set(".attention.key_length", 0u); },
     "qwen3.attention.key_length is 0"},
    {"key_length of another model", "qwen3",
     [](SyntheticModel& m) {
       m.set(".attention.key_length", 32u);
       m.set(".attention.value_length", 32u);
     },
     "blk.0.attn_q.weight"},
    {"value_length is not key_length", "qwen3", [](SyntheticModel& m) { m.set(".attention.value_length", 8u); },
     "qwen3.attention.value_length"},

    {"rope dimension odd", "llama", [](SyntheticModel& m) { m.set(".rope.dimension_count", 15u); },
     "llama.rope.dimension_count is 15"},
    {"rope dimension 0", "llama", [](SyntheticModel& m) { m.set(".rope.dimension_count", 0u); },
     "llama.rope.dimension_count is 0"},
    {"rope dimension above a head", "llama", [](SyntheticModel& m) { m.set(".rope.dimension_count", 18u); },
     "llama.rope.dimension_count is 18"},
    {"rope base 0", "llama", [](SyntheticModel& m) { m.set(".rope.freq_base", 0.0f); }, "llama.rope.freq_base is 0"},
    {"rope base NaN", "llama", [](SyntheticModel& m) { m.set(".rope.freq_base", kNan); },
     "llama.rope.freq_base is nan"},
    {"rope base is a string", "llama", [](SyntheticModel& m) { m.set(".rope.freq_base", "1e4"); },
     "llama.rope.freq_base"},
    {"rope scaling unknown", "llama", [](SyntheticModel& m) { m.set(".rope.scaling.type", "yarn"); }, "\"yarn\""},
    {"rope scaling without factor", "llama", [](SyntheticModel& m) { m.set(".rope.scaling.type", "linear"); },
     "llama.rope.scaling.factor"},
    {"rope scaling factor 0", "llama",
     [](SyntheticModel& m) {
       m.set(".rope.scaling.type", "linear");
       m.set(".rope.scaling.factor", 0.0f);
     },
     "llama.rope.scaling.factor is 0"},
    {"rope scaling factor whose inverse is no float", "llama",
     [](SyntheticModel& m) {
       m.set(".rope.scaling.type", "linear");
       m.set(".rope.scaling.factor", 1e-39f);
     },
     "llama.rope.scaling.factor is 1e-39"},
    {"rope factors too few", "llama",
     [](SyntheticModel& m) { m.add("rope_freqs.weight", {7}, GgmlType::F32, 2.0f, 0.1f); }, "rope_freqs.weight"},
    {"rope factor 0", "llama",
     [](SyntheticModel& m) {
       m.add("rope_freqs.weight", {8}, GgmlType::F32, 2.0f, 0.1f);
       m.tensor("rope_freqs.weight").values[3] = 0;
     },
     "rope_freqs.weight"},

    {"eps missing", "llama", [](SyntheticModel& m) { m.erase(".attention.layer_norm_rms_epsilon"); },
     "layer_norm_rms_epsilon"},
    {"eps 0", "llama", [](SyntheticModel& m) { m.set(".attention.layer_norm_rms_epsilon", 0.0f); },
     "layer_norm_rms_epsilon is 0"},
    {"eps negative", "llama", [](SyntheticModel& m) { m.set(".attention.layer_norm_rms_epsilon", -1e-6f); },
     "layer_norm_rms_epsilon is -1e-06"},
    {"eps NaN", "llama", [](SyntheticModel& m) { m.set(".attention.layer_norm_rms_epsilon", kNan); },
     "layer_norm_rms_epsilon is nan"},
    {"eps infinite", "llama", [](SyntheticModel& m) { m.set(".attention.layer_norm_rms_epsilon", kInfinity); },
     "layer_norm_rms_epsilon is inf"},

    {"experts in a dense family", "qwen3",
     [](SyntheticModel& m) {
       m.set(".expert_count", 6u);
       m.set(".expert_used_count", 2u);
     },
     "qwen3.expert_count is 6"},
    {"no experts", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_count", 0u); }, "qwen3moe.expert_count"},
    {"expert_count missing", "qwen3moe", [](SyntheticModel& m) { m.erase(".expert_count"); }, "qwen3moe.expert_count"},
    {"expert_count of another model", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_count", 8u); },
     "blk.0.ffn_gate_inp.weight"},
    {"expert_count huge", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_count", kHuge); },
     "qwen3moe.expert_count is 4294967295"},
    {"expert_used_count missing", "qwen3moe", [](SyntheticModel& m) { m.erase(".expert_used_count"); },
     "qwen3moe.expert_used_count"},
    {"expert_used_count 0", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_used_count", 0u); },
     "qwen3moe.expert_used_count is 0"},
    {"expert_used_count above expert_count", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_used_count", 7u); },
     "qwen3moe.expert_used_count is 7"},
    {"expert width of another model", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_feed_forward_length", 64u); },
     "blk.0.ffn_gate_exps.weight"},
    {"expert_weights_norm is a string", "qwen3moe", [](SyntheticModel& m) { m.set(".expert_weights_norm", "yes"); },
     "qwen3moe.expert_weights_norm"},

    {"embedding missing", "llama", [](SyntheticModel& m) { m.drop("token_embd.weight"); },
     "token_embd.weight is missing"},
    {"embedding of one dimension", "llama", [](SyntheticModel& m) { m.reshape("token_embd.weight", {40 * 64}); },
     "token_embd.weight"},
    {"embedding of three dimensions", "llama",
     [](SyntheticModel& m) {
       m.reshape("token_embd.weight", {4, 10, 64});
     },
     "token_embd.weight"},
    {"output of another vocabulary", "llama",
     [](SyntheticModel& m) {
       m.reshape("output.weight", {41, 64});
     },
     "output.weight has the shape [41, 64]"},
    {"output norm missing", "llama", [](SyntheticModel& m) { m.drop("output_norm.weight"); },
     "output_norm.weight is missing"},
    {"norm of another width", "qwen3", [](SyntheticModel& m) { m.reshape("blk.1.attn_norm.weight", {63}); },
     "blk.1.attn_norm.weight has the shape [63]"},
    {"head norm of another width", "qwen3", [](SyntheticModel& m) { m.reshape("blk.1.attn_k_norm.weight", {64}); },
     "blk.1.attn_k_norm.weight"},
    {"head norm missing", "qwen3", [](SyntheticModel& m) { m.drop("blk.0.attn_q_norm.weight"); },
     "blk.0.attn_q_norm.weight is missing"},
    {"key weights missing", "llama", [](SyntheticModel& m) { m.drop("blk.1.attn_k.weight"); },
     "blk.1.attn_k.weight is missing"},
    {"transposed weights", "llama",
     [](SyntheticModel& m) {
       m.reshape("blk.1.ffn_down.weight", {96, 64});
     },
     "blk.1.ffn_down.weight has the shape [96, 64]"},
    {"bias of another width", "llama", [](SyntheticModel& m) { m.add("blk.0.attn_q.bias", {63}); },
     "blk.0.attn_q.bias"},
    {"experts of two dimensions", "qwen3moe",
     [](SyntheticModel& m) {
       m.reshape("blk.0.ffn_up_exps.weight", {6 * 32, 64});
     },
     "blk.0.ffn_up_exps.weight"},
    {"a tensor of another family", "llama",
     [](SyntheticModel& m) {
       m.add("blk.0.ssm_conv1d.weight", {64, 4});
     },
     "blk.0.ssm_conv1d.weight has no place"},
    {"weights of integers", "llama", [](SyntheticModel& m) { m.tensor("blk.0.attn_q.weight").type = GgmlType::I32; },
     "blk.0.attn_q.weight", ErrorKind::UnsupportedDtype},
    {"norm of integers", "llama", [](SyntheticModel& m) { m.tensor("blk.0.attn_norm.weight").type = GgmlType::I16; },
     "blk.0.attn_norm.weight", ErrorKind::UnsupportedDtype},
    {"weights of doubles", "llama", [](SyntheticModel& m) { m.tensor("output.weight").type = GgmlType::F64; },
     "output.weight", ErrorKind::UnsupportedDtype},
    {"embedding of a type without kernels", "llama",
     [](SyntheticModel& m) { m.tensor("token_embd.weight").type = GgmlType::Q8_1; }, "token_embd.weight",
     ErrorKind::UnsupportedDtype},

    {"tokens fewer than the embedding's rows", "llama",
     [](SyntheticModel& m) { m.set("tokenizer.ggml.tokens", SyntheticModel::array(std::vector<std::string>(39))); },
     "tokenizer.ggml.tokens"},
    {"tokens are not an array", "llama", [](SyntheticModel& m) { m.set("tokenizer.ggml.tokens", 40u); },
     "tokenizer.ggml.tokens"},
    {"vocab_size of another model", "llama", [](SyntheticModel& m) { m.set(".vocab_size", 41u); }, "llama.vocab_size"},
};

TEST(ModelsMalformed, EveryOneIsAnErrorValue) {
  static_assert(std::size(kCases) >= 30);
  const test::TempDir dir;
  const MlxDevice device = test::cpu(1);
  const KernelRegistry registry;
  for (const char* architecture : {"llama", "qwen3", "qwen3moe"}) {
    const auto file = SyntheticModel::create(architecture).write(dir / "good.gguf");
    ASSERT_TRUE(file.has_value()) << file.error().message;
    const auto model = Model::load(*file, device, registry);
    ASSERT_TRUE(model.has_value()) << architecture << ": " << model.error().message;
  }
  for (const Case& c : kCases) {
    SyntheticModel m = SyntheticModel::create(c.architecture);
    c.spoil(m);
    const auto file = m.write(dir / "bad.gguf");
    ASSERT_TRUE(file.has_value()) << c.name << ": " << file.error().message;
    const auto model = Model::load(*file, device, registry);
    ASSERT_FALSE(model.has_value()) << c.name;
    EXPECT_EQ(model.error().kind, c.kind) << c.name << ": " << model.error().message;
    EXPECT_NE(model.error().message.find(c.message), std::string::npos) << c.name << ": " << model.error().message;
  }
}

TEST(ModelsMalformed, BadOptionsAreErrors) {
  const test::TempDir dir;
  SyntheticModel m = SyntheticModel::create("llama");
  m.set(".context_length", 1u << 27);
  const auto file = m.write(dir / "model.gguf").value();
  const auto failure = [&](const ModelOptions& options) {
    const auto model = Model::load(file, test::cpu(1), {}, options);
    return model ? MlxError{ErrorKind::DeviceNotFound, "loaded"} : model.error();
  };
  EXPECT_EQ(failure({.context = (1u << 27) + 1}).kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(failure({.kv_dtype = DType::BF16}).kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(failure({.prefill_chunk = 0}).kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(failure({.precision = static_cast<Precision>(9)}).kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(failure({.prefill_chunk = 1u << 31}).kind, ErrorKind::InvalidArgument);
  // 2 layers of 2^27 tokens, 2 heads of 16 keys and 16 values of 4 bytes: 64 GiB.
  if (test::cpu(1).free_memory() < std::size_t{64} << 30) {
    EXPECT_EQ(failure({.context = 1u << 27}).kind, ErrorKind::BufferAllocationError);
  }
}

}  // namespace
}  // namespace mlx_native
