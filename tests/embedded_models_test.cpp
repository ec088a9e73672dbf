// The models in share/models open, and list what their README says.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "mlx_native/gguf.h"

namespace mlx_native {
namespace {

const std::filesystem::path kModels = std::filesystem::path(MLXN_SOURCE_DIR) / "share/models";

struct Expected {
  const char *file, *architecture;
  std::uint32_t layers, hidden;
  const char* ffn;
  std::size_t ffn_dims;
};

class EmbeddedModel : public testing::TestWithParam<Expected> {};

TEST_P(EmbeddedModel, OpensAndLists) {
  const auto& expected = GetParam();
  const auto file = GgufFile::open(kModels / expected.file);
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const std::string prefix = expected.architecture;
  EXPECT_EQ(file->metadata_string("general.architecture"), prefix);
  EXPECT_EQ(file->metadata_u32(prefix + ".block_count"), expected.layers);
  EXPECT_EQ(file->metadata_u64(prefix + ".embedding_length"), expected.hidden);
  EXPECT_EQ(file->metadata_f32(prefix + ".rope.freq_base"), 10000.0f);
  const auto* tokens = file->metadata("tokenizer.ggml.tokens");
  ASSERT_NE(tokens, nullptr);
  ASSERT_NE(tokens->as_array<std::string>(), nullptr);
  EXPECT_EQ(tokens->array_size(), 4096u);
  EXPECT_EQ(tokens->as_array<std::string>()->front(), "<|endoftext|>");

  const auto* embedding = file->tensor_info("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->ggml_type, GgmlType::Q6_K);
  EXPECT_EQ(embedding->shape, (Shape{4096, expected.hidden}));
  const auto* ffn = file->tensor_info(expected.ffn);
  ASSERT_NE(ffn, nullptr);
  EXPECT_EQ(ffn->ggml_type, GgmlType::Q4_K);
  EXPECT_EQ(ffn->shape.size(), expected.ffn_dims);
  for (const auto& tensor : file->tensors()) {
    const auto bytes = file->tensor_bytes(tensor.name);
    ASSERT_TRUE(bytes.has_value()) << tensor.name;
    EXPECT_GT(bytes->size(), 0u) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, EmbeddedModel,
    testing::Values(Expected{"docs-dense.q4_k_m.gguf", "qwen3", 6, 512, "blk.0.ffn_gate.weight", 2},
                    Expected{"docs-moe.q4_k_m.gguf", "qwen3moe", 4, 256, "blk.0.ffn_gate_exps.weight", 3}),
    [](const auto& test) { return std::string(test.param.architecture); });

}  // namespace
}  // namespace mlx_native
