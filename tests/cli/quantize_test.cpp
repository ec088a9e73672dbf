#include "mlx_native/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <map>
#include <random>

#include "cli/process.h"
#include "mlx_native/gguf.h"
#include "support/lane.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;

std::map<std::string, GgmlType> types_of(const std::filesystem::path& path) {
  std::map<std::string, GgmlType> types;
  const auto file = GgufFile::open(path);
  if (!file) throw std::runtime_error(file.error().message);
  for (const auto& tensor : file->tensors()) types[tensor.name] = tensor.ggml_type;
  return types;
}

struct Tensor {
  std::string name;
  Shape shape;
};

/// A model in F32 with random weights, all of the same seed.
void write_model(const std::filesystem::path& path, const std::vector<Tensor>& tensors, std::uint32_t layers,
                 std::uint32_t experts = 0) {
  const auto check = [](const Result<void>& result) {
    if (!result) throw std::runtime_error(result.error().message);
  };
  auto writer = GgufWriter::create(path);
  if (!writer) throw std::runtime_error(writer.error().message);
  const auto number = [](std::uint32_t value) { return MetadataValue{MetadataValue::Scalar(value)}; };
  check(writer->add_metadata("general.architecture", MetadataValue{MetadataValue::Scalar(std::string("test"))}));
  check(writer->add_metadata("general.file_type", number(0)));
  check(writer->add_metadata("test.block_count", number(layers)));
  if (experts > 0) check(writer->add_metadata("test.expert_count", number(experts)));
  for (const auto& tensor : tensors) check(writer->add_tensor(tensor.name, tensor.shape, GgmlType::F32));
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const auto& tensor : tensors) {
    std::size_t count = 1;
    for (const std::size_t n : tensor.shape) count *= n;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    check(writer->write({reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(float)}));
  }
  check(writer->finish());
}

TEST(CliQuantize, EveryFormatByName) {
  const TempDir dir;
  const auto in = dir / "in.gguf";
  write_model(
      in, {{"token_embd.weight", {8, 512}}, {"blk.0.attn_norm.weight", {512}}, {"blk.0.ffn_up.weight", {16, 512}}}, 1);
  const auto source = GgufFile::open(in);
  ASSERT_TRUE(source.has_value());
  for (const GgmlType type : weight_formats()) {
    const std::string name(ggml_type_name(type));
    const auto path = dir / (name + ".gguf");
    const auto outcome = mlxn({"quantize", in.string(), path.string(), name});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file.has_value());
    EXPECT_EQ(file->tensor_info("token_embd.weight")->ggml_type, type);
    EXPECT_EQ(file->tensor_info("blk.0.attn_norm.weight")->ggml_type, GgmlType::F32);
    EXPECT_EQ(file->metadata_u32("test.block_count"), 1u);
    // The library's own encoder, fed with the whole tensor at once.
    std::vector<float> values(16 * 512);
    ASSERT_TRUE(dequantize(GgmlType::F32, *source->tensor_bytes("blk.0.ffn_up.weight"), values).has_value());
    const auto expected = quantize(type, values);
    const auto bytes = *file->tensor_bytes("blk.0.ffn_up.weight");
    EXPECT_EQ(std::vector<std::uint8_t>(bytes.begin(), bytes.end()), *expected) << name;
  }
}

TEST(CliQuantize, MixOfTheEmbeddedModel) {
  if (kSlow) GTEST_SKIP() << "half a minute, by the code of the tests around it";
  const TempDir dir;
  const auto f32 = dir / "f32.gguf", mixed = dir / "mixed.gguf";
  ASSERT_EQ(mlxn({"quantize", moe_model(), f32.string(), "f32"}).code, 0);
  for (const auto& [name, type] : types_of(f32)) EXPECT_EQ(type, GgmlType::F32) << name;
  const auto outcome = mlxn({"quantize", f32.string(), mixed.string(), "Q4_K_M"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto file = GgufFile::open(mixed);
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->metadata_u32("general.file_type"), 15u);
  EXPECT_EQ(file->metadata_u32("general.quantization_version"), 2u);
  EXPECT_EQ(file->metadata("tokenizer.ggml.tokens")->array_size(), 4096u);
  const auto types = types_of(mixed);
  EXPECT_EQ(types.at("token_embd.weight"), GgmlType::Q6_K);  // it is the output too
  EXPECT_EQ(types.at("blk.0.attn_q.weight"), GgmlType::Q4_K);
  EXPECT_EQ(types.at("blk.0.ffn_gate_inp.weight"), GgmlType::F32);
  EXPECT_EQ(types.at("blk.0.attn_q_norm.weight"), GgmlType::F32);
  // Four layers: the eighth is none, the last is in the last eighth, and layer 2 is every third.
  for (const std::string part : {".attn_v.weight", ".ffn_down_exps.weight"})
    for (int layer = 0; layer < 4; ++layer)
      EXPECT_EQ(types.at("blk." + std::to_string(layer) + part), layer >= 2 ? GgmlType::Q6_K : GgmlType::Q4_K) << part;
}

TEST(CliQuantize, MixOfSixteenLayersAndOfEightExperts) {
  const TempDir dir;
  std::vector<Tensor> tensors = {{"token_embd.weight", {4, 256}}, {"output.weight", {4, 256}}};
  for (int layer = 0; layer < 16; ++layer)
    for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_down"})
      tensors.push_back({"blk." + std::to_string(layer) + "." + part + ".weight", {2, 256}});
  for (const std::uint32_t experts : {0u, 8u}) {
    const auto in = dir / "in.gguf", out = dir / "out.gguf";
    write_model(in, tensors, 16, experts);
    ASSERT_EQ(mlxn({"quantize", in.string(), out.string(), "q4_k_m"}).code, 0);
    const auto types = types_of(out);
    EXPECT_EQ(types.at("token_embd.weight"), GgmlType::Q4_K);
    EXPECT_EQ(types.at("output.weight"), GgmlType::Q6_K);
    const std::vector<int> more = {0, 1, 4, 7, 10, 13, 14, 15};  // first and last eighth, every third between
    for (int layer = 0; layer < 16; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      const GgmlType better = std::count(more.begin(), more.end(), layer) ? GgmlType::Q6_K : GgmlType::Q4_K;
      EXPECT_EQ(types.at(prefix + "ffn_down.weight"), better) << layer;
      EXPECT_EQ(types.at(prefix + "attn_v.weight"), experts ? GgmlType::Q8_0 : better) << layer;
      EXPECT_EQ(types.at(prefix + "attn_k.weight"), experts ? GgmlType::Q8_0 : GgmlType::Q4_K) << layer;
      EXPECT_EQ(types.at(prefix + "attn_output.weight"), experts ? GgmlType::Q5_K : GgmlType::Q4_K) << layer;
      EXPECT_EQ(types.at(prefix + "attn_q.weight"), GgmlType::Q4_K) << layer;
    }
  }
}

TEST(CliQuantize, RowsThatDoNotFitFallBackWithANote) {
  const TempDir dir;
  const auto in = dir / "in.gguf", out = dir / "out.gguf";
  write_model(
      in, {{"blk.0.ffn_up.weight", {4, 96}}, {"blk.0.ffn_gate.weight", {4, 33}}, {"blk.0.ffn_down.weight", {4, 256}}},
      1);
  const auto outcome = mlxn({"quantize", in.string(), out.string(), "q4_k"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("blk.0.ffn_up.weight has rows of 96 values, which q4_K cannot hold: q8_0"));
  EXPECT_THAT(outcome.out, HasSubstr("blk.0.ffn_gate.weight has rows of 33 values, which q4_K cannot hold: f16"));
  const auto types = types_of(out);
  EXPECT_EQ(types.at("blk.0.ffn_up.weight"), GgmlType::Q8_0);
  EXPECT_EQ(types.at("blk.0.ffn_gate.weight"), GgmlType::F16);
  EXPECT_EQ(types.at("blk.0.ffn_down.weight"), GgmlType::Q4_K);
}

TEST(CliQuantize, SameBytesForAnyNumberOfThreads) {
  const TempDir dir;
  const auto in = dir / "in.gguf";
  write_model(in, {{"blk.0.ffn_up.weight", {1025, 512}}}, 1);
  std::vector<std::uint8_t> first;
  for (const char* threads : {"1", "2", "3"}) {
    const auto out = dir / "out.gguf";
    ASSERT_EQ(mlxn({"quantize", in.string(), out.string(), "q4_0", "-t", threads}).code, 0);
    auto bytes = read_file(out);
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes, first) << threads;
  }
}

TEST(CliQuantize, RefusesToQuantizeTwice) {
  const TempDir dir;
  const auto plain = dir / "plain.gguf", in = dir / "in.gguf", out = dir / "out.gguf";
  write_model(plain, {{"blk.0.attn_q.weight", {16, 512}}}, 1);
  ASSERT_EQ(mlxn({"quantize", plain.string(), in.string(), "q4_k"}).code, 0);
  const auto refused = mlxn({"quantize", in.string(), out.string(), "q8_0"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.error_lines(), 1u);
  EXPECT_THAT(refused.err, HasSubstr("--allow-requantize"));
  EXPECT_EQ(dir.entries(), 2u);
  EXPECT_EQ(mlxn({"quantize", in.string(), out.string(), "q8_0", "--allow-requantize"}).code, 0);
  EXPECT_EQ(types_of(out).at("blk.0.attn_q.weight"), GgmlType::Q8_0);
}

TEST(CliQuantize, RefusedOutputsLeaveEverythingAsItWas) {
  const TempDir dir;
  const auto in = dir / "in.gguf";
  write_model(in, {{"blk.0.ffn_up.weight", {16, 512}}}, 1);
  const auto before = read_file(in);
  std::filesystem::create_symlink(in, dir / "link.gguf");
  std::filesystem::create_directory(dir / "directory");
  for (const auto& out :
       {in, dir / "." / "in.gguf", dir / "link.gguf", dir / "directory", dir / "absent" / "out.gguf",
        std::filesystem::path("/dev/full"), std::filesystem::path("/dev/null"), std::filesystem::path("")}) {
    const auto outcome = mlxn({"quantize", in.string(), out.string(), "q8_0"});
    EXPECT_EQ(outcome.code, 1) << out;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_EQ(read_file(in), before);
    EXPECT_EQ(dir.entries(), 3u) << out;
  }
}

TEST(CliQuantize, NanInTheModelIsNamed) {
  const TempDir dir;
  const auto in = dir / "in.gguf";
  write_model(in, {{"blk.0.ffn_up.weight", {16, 512}}}, 1);
  auto bytes = read_file(in);
  std::fill(bytes.end() - 4, bytes.end(), std::uint8_t{0xff});
  write_file(in, bytes);
  const auto outcome = mlxn({"quantize", in.string(), (dir / "out.gguf").string(), "q4_k"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.error_lines(), 1u);
  EXPECT_THAT(outcome.err, HasSubstr("blk.0.ffn_up.weight"));
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(CliQuantize, AFileLargerThanTheShellAllowsIsAnErrorAndLeavesNothing) {
  const TempDir dir;
  const auto in = dir / "in.gguf";
  write_model(in, {{"blk.0.ffn_up.weight", {256, 1024}}}, 1);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{64 << 10, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto outcome = mlxn({"quantize", in.string(), (dir / "out.gguf").string(), "q8_0"});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("File too large"));
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(CliQuantize, InterruptLeavesNothing) {
  const TempDir dir;
  const auto in = dir / "in.gguf";
  write_model(in, {{"blk.0.ffn_up.weight", {4096, 1024}}}, 1);
  Mlxn process({"quantize", in.string(), (dir / "out.gguf").string(), "q4_k", "-t", "1"});
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (dir.entries() < 2 && std::chrono::steady_clock::now() < limit) continue;  // until the temporary file is there
  process.signal(SIGINT);
  EXPECT_EQ(process.wait().code, 130);
  EXPECT_EQ(dir.entries(), 1u);
}

}  // namespace
}  // namespace mlx_native::test
