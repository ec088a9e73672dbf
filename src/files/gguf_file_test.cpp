// GgufFile and GgufWriter: what the one writes the other reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "mlx_native/gguf.h"
#include "support/temp_dir.h"

namespace mlx_native {
namespace {

using test::read_file;
using test::TempDir;
using test::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Scalar = MetadataValue::Scalar;
using Array = MetadataValue::Array;
using Bytes = std::vector<std::uint8_t>;

Bytes counted(std::size_t size, std::uint8_t first = 0) {
  Bytes bytes(size);
  std::iota(bytes.begin(), bytes.end(), first);
  return bytes;
}

template <class T>
T value_or_die(Result<T> result) {
  EXPECT_TRUE(result.has_value()) << result.error().message;
  return std::move(*result);
}

void expect_error(const Result<void>& result, ErrorKind kind, const char* text) {
  ASSERT_FALSE(result.has_value()) << "expected: " << text;
  EXPECT_EQ(result.error().kind, kind) << result.error().message;
  EXPECT_THAT(result.error().message, HasSubstr(text));
}

std::vector<GgufFile::MetadataEntry> every_value() {
  constexpr auto f32 = [](int i) {
    return std::vector<float>{1.5f, -0.0f, std::numeric_limits<float>::infinity()}[std::size_t(i)];
  };
  return {
      {"u8", {Scalar(std::uint8_t{255})}},
      {"i8", {Scalar(std::int8_t{-128})}},
      {"u16", {Scalar(std::uint16_t{65535})}},
      {"i16", {Scalar(std::int16_t{-32768})}},
      {"u32", {Scalar(std::uint32_t{4294967295u})}},
      {"i32", {Scalar(std::int32_t{-2147483647})}},
      {"f32", {Scalar(f32(0))}},
      {"false", {Scalar(false)}},
      {"true", {Scalar(true)}},
      {"string", {Scalar(std::string("a\0\xff", 3))}},
      {"empty string", {Scalar(std::string())}},
      {"u64", {Scalar(std::numeric_limits<std::uint64_t>::max())}},
      {"i64", {Scalar(std::numeric_limits<std::int64_t>::min())}},
      {"f64", {Scalar(0.1)}},
      {"[u8]", {Array(std::vector<std::uint8_t>{0, 255})}},
      {"[i8]", {Array(std::vector<std::int8_t>{-1, 1})}},
      {"[u16]", {Array(std::vector<std::uint16_t>{1, 2})}},
      {"[i16]", {Array(std::vector<std::int16_t>{-1, 2})}},
      {"[u32]", {Array(std::vector<std::uint32_t>{1, 2, 3})}},
      {"[i32]", {Array(std::vector<std::int32_t>{-1, 2, 3})}},
      {"[f32]", {Array(std::vector<float>{f32(0), f32(1), f32(2)})}},
      {"[bool]", {Array(std::vector<bool>{true, false, true})}},
      {"[string]", {Array(std::vector<std::string>{"", "a", "\xc3\xa9"})}},
      {"[u64]", {Array(std::vector<std::uint64_t>{1, ~0ull})}},
      {"[i64]", {Array(std::vector<std::int64_t>{-1})}},
      {"[f64]", {Array(std::vector<double>{0.1, -0.1})}},
      {"empty array", {Array(std::vector<std::string>())}},
  };
}

TEST(GgufWriter, EveryTypeOfValueComesBack) {
  const TempDir dir;
  auto writer = value_or_die(GgufWriter::create(dir / "m.gguf"));
  const auto entries = every_value();
  for (const auto& [key, value] : entries) ASSERT_TRUE(writer.add_metadata(key, value).has_value()) << key;
  ASSERT_TRUE(writer.finish().has_value());

  const auto file = value_or_die(GgufFile::open(dir / "m.gguf"));
  EXPECT_EQ(file.version(), 3u);
  EXPECT_TRUE(file.tensors().empty());
  ASSERT_EQ(file.metadata().size(), entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(file.metadata()[i].key, entries[i].key);
    EXPECT_EQ(file.metadata()[i].value.value, entries[i].value.value) << entries[i].key;
    EXPECT_EQ(file.metadata(entries[i].key), &file.metadata()[i].value);
  }
  EXPECT_EQ(file.metadata("absent"), nullptr);
}

TEST(MetadataValue, ConvertsIntegersThatFit) {
  const MetadataValue u8{Scalar(std::uint8_t{200})}, minus{Scalar(std::int64_t{-1})},
      large{Scalar(std::uint64_t{1} << 63)};
  EXPECT_EQ(u8.as_u32(), 200u);
  EXPECT_EQ(u8.as_i64(), 200);
  EXPECT_EQ(u8.as_f32(), 200.0f);
  EXPECT_EQ(minus.as_u64(), std::nullopt);
  EXPECT_EQ(minus.as_i64(), -1);
  EXPECT_EQ(minus.as_f32(), -1.0f);
  EXPECT_EQ(large.as_u32(), std::nullopt);
  EXPECT_EQ(large.as_i64(), std::nullopt);
  EXPECT_EQ(large.as_u64(), std::uint64_t{1} << 63);
  EXPECT_EQ(large.as_f32(), 0x1p63f);
  EXPECT_EQ(MetadataValue{Scalar(true)}.as_u64(), std::nullopt) << "a bool is not a number";
  EXPECT_EQ(MetadataValue{Scalar(true)}.as_bool(), true);
  EXPECT_EQ(MetadataValue{Scalar(1.5)}.as_f32(), 1.5f);
  EXPECT_EQ(MetadataValue{Scalar(1.5f)}.as_u64(), std::nullopt);
  EXPECT_EQ(MetadataValue{Scalar(std::string("1"))}.as_f32(), std::nullopt);
  const MetadataValue array{Array(std::vector<std::int32_t>{1, 2})};
  EXPECT_EQ(array.as_u64(), std::nullopt);
  EXPECT_EQ(array.array_size(), 2u);
  EXPECT_EQ(array.as_array<std::uint32_t>(), nullptr);
  ASSERT_NE(array.as_array<std::int32_t>(), nullptr);
  EXPECT_THAT(*array.as_array<std::int32_t>(), ElementsAre(1, 2));
  EXPECT_EQ(u8.array_size(), std::nullopt);
}

TEST(GgufWriter, TensorsComeBackInOrderHoweverTheyAreCut) {
  for (const std::uint32_t alignment : {1u, 8u, 32u, 4096u}) {
    const TempDir dir;
    auto writer = value_or_die(GgufWriter::create(dir / "m.gguf"));
    ASSERT_TRUE(writer.add_metadata("general.alignment", {Scalar(alignment)}).has_value());
    ASSERT_TRUE(writer.add_tensor("b", {2, 3}, GgmlType::F16).has_value());
    ASSERT_TRUE(writer.add_tensor("a/../x", {1, 2, 3, 256}, GgmlType::Q4_K).has_value());
    ASSERT_TRUE(writer.add_tensor("c", {5}, GgmlType::I8).has_value());
    const auto all = counted(12 + 6 * 144 + 5);
    for (std::size_t at = 0, piece = 1; at < all.size(); at += piece, piece = piece % 97 + 5) {
      piece = std::min(piece, all.size() - at);
      ASSERT_TRUE(writer.write(std::span(all).subspan(at, piece)).has_value());
    }
    expect_error(writer.write(counted(1)), ErrorKind::InvalidArgument, "1 bytes more");
    EXPECT_FALSE(std::filesystem::exists(dir / "m.gguf"));
    ASSERT_TRUE(writer.finish().has_value());
    EXPECT_EQ(dir.entries(), 1u);
    expect_error(writer.finish(), ErrorKind::InvalidArgument, "finished");

    const auto file = value_or_die(GgufFile::open(dir / "m.gguf"));
    EXPECT_EQ(file.file_bytes(), std::filesystem::file_size(dir / "m.gguf"));
    EXPECT_EQ(file.file_bytes() % alignment, 0u);
    EXPECT_THAT(file.tensor_names(), ElementsAre("b", "a/../x", "c"));
    const auto* info = file.tensor_info("a/../x");
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info, &file.tensors()[1]);
    EXPECT_THAT(info->shape, ElementsAre(1, 2, 3, 256));
    EXPECT_EQ(info->ggml_type, GgmlType::Q4_K);
    EXPECT_EQ(info->byte_len, 6u * 144);
    std::size_t at = 0;
    for (const auto& tensor : file.tensors()) {
      EXPECT_EQ(tensor.offset % alignment, 0u);
      const auto bytes = value_or_die(file.tensor_bytes(tensor.name));
      ASSERT_EQ(bytes.size(), tensor.byte_len);
      EXPECT_EQ(std::memcmp(bytes.data(), all.data() + at, bytes.size()), 0);
      at += bytes.size();
    }
    EXPECT_EQ(file.tensor_info("absent"), nullptr);
    EXPECT_EQ(file.tensor_bytes("absent").error().kind, ErrorKind::InvalidArgument);
  }
}

TEST(GgufFile, ReportsATensorWhoseFileHasShrunk) {
  const TempDir dir;
  auto writer = value_or_die(GgufWriter::create(dir / "m.gguf"));
  ASSERT_TRUE(writer.add_tensor("a", {8192}, GgmlType::I8).has_value());
  ASSERT_TRUE(writer.write(counted(8192)).has_value());
  ASSERT_TRUE(writer.finish().has_value());
  const auto file = value_or_die(GgufFile::open(dir / "m.gguf"));
  std::filesystem::resize_file(dir / "m.gguf", 100);
  const auto bytes = file.tensor_bytes("a");
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().kind, ErrorKind::IoError);
}

}  // namespace
}  // namespace mlx_native
