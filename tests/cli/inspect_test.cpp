#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/process.h"
#include "mlx_native/gguf.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(CliDevices, TableAndJson) {
  const auto table = mlxn({"devices"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("cpu"));
  EXPECT_THAT(table.out, HasSubstr("metal"));
  const auto json = mlxn({"devices", "--json"}).json();
  ASSERT_TRUE(json.is_object());
  bool has_cpu = false, explains = false;
  for (const auto& device : json.at("devices")) {
    if (device.at("available").get<bool>()) {
      EXPECT_FALSE(device.at("name").get<std::string>().empty());
      EXPECT_GT(device.at("total_memory").get<std::uint64_t>(), 0u);
      EXPECT_TRUE(device.contains("free_memory"));
      EXPECT_GE(device.at("parallelism").get<int>(), 1);
      has_cpu |= device.at("backend") == "cpu";
    } else {
      explains |= !device.at("reason").get<std::string>().empty();
    }
  }
  EXPECT_TRUE(has_cpu);
  EXPECT_TRUE(explains);  // no machine has both CUDA and Metal
}

TEST(CliInspect, Json) {
  for (const auto& path : {dense_model(), moe_model()}) {
    const auto outcome = mlxn({"inspect", path, "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    const auto json = outcome.json();
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file.has_value());
    EXPECT_EQ(json.at("version"), file->version());
    EXPECT_EQ(json.at("bytes"), file->file_bytes());
    EXPECT_EQ(json.at("metadata").size(), file->metadata().size());
    EXPECT_EQ(json.at("metadata").at("general.architecture").at("value"),
              file->metadata_string("general.architecture"));
    const auto& tokens = json.at("metadata").at("tokenizer.ggml.tokens");
    EXPECT_EQ(tokens.at("length"), 4096);
    EXPECT_LT(tokens.at("value").size(), 20u);
    ASSERT_EQ(json.at("tensors").size(), file->tensors().size());
    for (std::size_t i = 0; i < file->tensors().size(); ++i) {
      const auto& tensor = file->tensors()[i];
      const auto& shown = json.at("tensors")[i];
      EXPECT_EQ(shown.at("name"), tensor.name);
      EXPECT_EQ(shown.at("shape").get<Shape>(), tensor.shape);
      EXPECT_EQ(shown.at("type"), ggml_type_name(tensor.ggml_type));
      EXPECT_EQ(shown.at("offset"), tensor.offset);
      EXPECT_EQ(shown.at("bytes"), tensor.byte_len);
    }
  }
  EXPECT_EQ(
      mlxn({"inspect", dense_model(), "--json", "--full"}).json()["metadata"]["tokenizer.ggml.tokens"]["value"].size(),
      4096u);
}

TEST(CliInspect, TableIsAbbreviatedAndAligned) {
  const auto outcome = mlxn({"inspect", dense_model()});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("token_embd.weight"));
  EXPECT_THAT(outcome.out, HasSubstr("[4096, 512]"));
  EXPECT_THAT(outcome.out, HasSubstr("string[4096]"));
  EXPECT_THAT(outcome.out, HasSubstr(", ...]"));
  EXPECT_LT(outcome.out.size(), 10000u);
}

TEST(CliInspect, Safetensors) {
  const TempDir dir;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})";
  std::vector<std::uint8_t> bytes(8);
  bytes[0] = static_cast<std::uint8_t>(header.size());
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.resize(bytes.size() + 16);
  for (const char* name : {"model.safetensors", "model"}) {  // known by its contents too
    write_file(dir / name, bytes);
    const auto table = mlxn({"inspect", (dir / name).string()});
    EXPECT_EQ(table.code, 0) << table.err;
    EXPECT_THAT(table.out, HasSubstr("[2, 3]"));
    const auto json = mlxn({"inspect", (dir / name).string(), "--json"}).json();
    EXPECT_EQ(json.at("format"), "safetensors");
    EXPECT_EQ(json.at("parameters"), 7);
    EXPECT_EQ(json.at("metadata").at("format").at("value"), "pt");
    EXPECT_EQ(json.at("tensors")[0].at("name"), "a");
    EXPECT_EQ(json.at("tensors")[1].at("type"), "F16");
    EXPECT_EQ(json.at("tensors")[1].at("bytes"), 12);
  }
  bytes.pop_back();
  write_file(dir / "cut.safetensors", bytes);
  const auto cut = mlxn({"inspect", (dir / "cut.safetensors").string()});
  EXPECT_EQ(cut.code, 1);
  EXPECT_EQ(cut.error_lines(), 1u);
}

TEST(CliInspect, StringsOfAListCanBeToldApart) {
  const TempDir dir;
  const auto path = (dir / "m.gguf").string();
  {
    auto writer = GgufWriter::create(path).value();
    const std::vector<std::string> strings = {"a\"", "\\", ", "};
    ASSERT_TRUE(writer.add_metadata("list", MetadataValue{MetadataValue::Array(strings)}).has_value());
    ASSERT_TRUE(writer.finish().has_value());
  }
  EXPECT_THAT(mlxn({"inspect", path}).out, HasSubstr(R"(["a\"", "\\", ", "])"));
}

TEST(CliInspect, ParametersOfUnknownTypesAreNoSumThatWraps) {
  const TempDir dir;
  std::string header;
  for (int i = 0; i < 5; ++i)
    header += fmt::format(R"({}"t{}":{{"dtype":"F7","shape":[{}],"data_offsets":[{},{}]}})", i ? "," : "{", i,
                          std::uint64_t{1} << 62, i, i + 1);
  header += "}";
  std::vector<std::uint8_t> bytes(8);
  bytes[0] = static_cast<std::uint8_t>(header.size()), bytes[1] = static_cast<std::uint8_t>(header.size() >> 8);
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.resize(bytes.size() + 5);
  write_file(dir / "m.safetensors", bytes);
  EXPECT_EQ(mlxn({"inspect", (dir / "m.safetensors").string(), "--json"}).json().at("parameters"), UINT64_MAX);
}

TEST(CliInspect, TerminalEscapesAreNeutralised) {
  const TempDir dir;
  const auto path = dir / "evil.gguf";
  const auto string = [](std::string text) { return MetadataValue{MetadataValue::Scalar(std::move(text))}; };
  {
    auto writer = GgufWriter::create(path);
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE(writer
                    ->add_metadata("evil", string("\x1b]0;title\x07\x9b"
                                                  "31m\xc2\x9b\xe2\x80\xae"
                                                  "abc\nsecond"))
                    .has_value());
    ASSERT_TRUE(writer->add_metadata("list", MetadataValue{MetadataValue::Array(std::vector<std::string>{"\x1b[2J"})})
                    .has_value());
    ASSERT_TRUE(
        writer->add_metadata("nan", MetadataValue{MetadataValue::Scalar(std::numeric_limits<float>::quiet_NaN())})
            .has_value());
    ASSERT_TRUE(writer->finish().has_value());
  }
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"inspect", path.string()}, {"inspect", path.string(), "--json"}}) {
    const auto outcome = mlxn(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    for (const char c : outcome.out) {
      const auto byte = static_cast<unsigned char>(c);
      ASSERT_TRUE(byte == '\n' || (byte >= 0x20 && byte < 0x7f)) << static_cast<int>(byte);
    }
    EXPECT_THAT(outcome.out, HasSubstr("abc\\nsecond"));
  }
}

}  // namespace
}  // namespace mlx_native::test
