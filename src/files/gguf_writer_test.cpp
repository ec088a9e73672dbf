// What GgufWriter refuses, and what it leaves behind when it fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "mlx_native/gguf.h"
#include "support/temp_dir.h"

namespace mlx_native {
namespace {

using test::read_file;
using test::TempDir;
using test::write_file;
using ::testing::HasSubstr;

using Scalar = MetadataValue::Scalar;
using Bytes = std::vector<std::uint8_t>;

void expect_error(const Result<void>& result, ErrorKind kind, const char* text) {
  ASSERT_FALSE(result.has_value()) << "expected: " << text;
  EXPECT_EQ(result.error().kind, kind) << result.error().message;
  EXPECT_THAT(result.error().message, HasSubstr(text));
}

constexpr auto kInvalid = ErrorKind::InvalidArgument;

TEST(GgufWriter, RefusesWhatTheReaderWould) {
  const TempDir dir;
  auto writer = GgufWriter::create(dir / "m.gguf").value();
  const MetadataValue one{Scalar(std::uint32_t{1})};
  expect_error(writer.add_metadata("", one), kInvalid, "metadata key");
  expect_error(writer.add_metadata("a\n", one), kInvalid, "metadata key \"a\\x0a\"");
  expect_error(writer.add_metadata(std::string(65536, 'k'), one), kInvalid, "65536 bytes");
  ASSERT_TRUE(writer.add_metadata("a", one).has_value());
  expect_error(writer.add_metadata("a", one), kInvalid, "there already");
  expect_error(writer.add_metadata("general.alignment", {Scalar(std::uint32_t{3})}), kInvalid, "a power of two");
  expect_error(writer.add_metadata("general.alignment", {Scalar(std::uint64_t{32})}), kInvalid, "must be a u32");
  expect_error(writer.add_metadata("s", {Scalar(std::string((16u << 20) + 1, 'x'))}), kInvalid, "at most 16777216");
  expect_error(writer.add_metadata("s", {MetadataValue::Array(std::vector{std::string((16u << 20) + 1, 'x')})}),
               kInvalid, "at most 16777216");
  expect_error(writer.add_metadata("s", {MetadataValue::Array(std::vector<bool>((1u << 27) + 1))}), kInvalid,
               "at most 134217728");

  expect_error(writer.add_tensor("", {1}, GgmlType::F32), kInvalid, "tensor name");
  expect_error(writer.add_tensor(std::string(64, 't'), {1}, GgmlType::F32), kInvalid, "64 bytes");
  expect_error(writer.add_tensor("t", {}, GgmlType::F32), kInvalid, "0 dimensions");
  expect_error(writer.add_tensor("t", {1, 1, 1, 1, 1}, GgmlType::F32), kInvalid, "5 dimensions");
  expect_error(writer.add_tensor("t", {4, 0}, GgmlType::F32), kInvalid, "an extent of 0");
  expect_error(writer.add_tensor("t", {2, 100}, GgmlType::Q4_K), kInvalid, "a multiple of 256");
  expect_error(writer.add_tensor("t", {1ull << 62}, GgmlType::F32), kInvalid, "more than 2^64 - 1 bytes");
  expect_error(writer.add_tensor("t", {4}, GgmlType(77)), kInvalid, "unknown type 77");
  ASSERT_TRUE(writer.add_tensor("t", {4}, GgmlType::F32).has_value());
  expect_error(writer.add_tensor("t", {4}, GgmlType::F32), kInvalid, "there already");
  ASSERT_TRUE(writer.add_tensor("u", {(1ull << 63) - 1}, GgmlType::I8).has_value());
  expect_error(writer.add_tensor("v", {(1ull << 63) - 1}, GgmlType::I8), kInvalid, "in all");
}

TEST(GgufWriter, RefusesDeclarationsAfterDataAndUnfinishedTensors) {
  const TempDir dir;
  auto writer = GgufWriter::create(dir / "m.gguf").value();
  ASSERT_TRUE(writer.add_tensor("t", {4}, GgmlType::F32).has_value());
  expect_error(writer.finish(), kInvalid, "\"t\" has 0 of its 16 bytes");
  ASSERT_TRUE(writer.write(Bytes(15)).has_value());
  expect_error(writer.add_metadata("a", {Scalar(true)}), kInvalid, "before data is written");
  expect_error(writer.add_tensor("u", {4}, GgmlType::F32), kInvalid, "before data is written");
  expect_error(writer.finish(), kInvalid, "\"t\" has 15 of its 16 bytes");
  expect_error(writer.write(Bytes(3)), kInvalid, "2 bytes more than the 1 that");
  expect_error(writer.finish(), kInvalid, "\"t\" has 15 of its 16 bytes");
  ASSERT_TRUE(writer.write(Bytes(1)).has_value());
  expect_error(writer.write(Bytes(1)), kInvalid, "1 bytes more than the 0 that");
  ASSERT_TRUE(writer.finish().has_value());
  expect_error(writer.write(Bytes(1)), kInvalid, "finished");
  EXPECT_TRUE(GgufFile::open(dir / "m.gguf").has_value());
}

TEST(GgufWriter, LeavesNothingBehindWhenDropped) {
  const TempDir dir;
  {
    auto writer = GgufWriter::create(dir / "m.gguf").value();
    ASSERT_TRUE(writer.add_tensor("t", {4}, GgmlType::F32).has_value());
    ASSERT_TRUE(writer.write(Bytes(3)).has_value());
    EXPECT_EQ(dir.entries(), 1u);
    auto moved = std::move(writer);
    EXPECT_EQ(dir.entries(), 1u);
    expect_error(writer.add_metadata("a", {Scalar(true)}), kInvalid, "moved from");
    expect_error(writer.add_tensor("u", {4}, GgmlType::F32), kInvalid, "moved from");
    expect_error(writer.write(Bytes(1)), kInvalid, "moved from");
    expect_error(writer.finish(), kInvalid, "moved from");
    auto another = GgufWriter::create(dir / "m.gguf").value();
    EXPECT_EQ(dir.entries(), 2u);
    another = std::move(moved);
    EXPECT_EQ(dir.entries(), 1u);
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(GgufWriter, ReplacesAFileThatIsOpen) {
  const TempDir dir;
  const auto write = [&](std::uint8_t value) {
    auto writer = GgufWriter::create(dir / "m.gguf").value();
    ASSERT_TRUE(writer.add_tensor("t", {4}, GgmlType::I8).has_value());
    ASSERT_TRUE(writer.write(Bytes(4, value)).has_value());
    ASSERT_TRUE(writer.finish().has_value());
  };
  write(1);
  const auto old = GgufFile::open(dir / "m.gguf").value();
  write(2);
  EXPECT_EQ(old.tensor_bytes("t").value()[0], 1);
  EXPECT_EQ(GgufFile::open(dir / "m.gguf").value().tensor_bytes("t").value()[0], 2);
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(GgufWriter, KeepsThePermissionsOfAFileThatItReplaces) {
  using std::filesystem::perms;
  const TempDir dir;
  for (const perms mode : {perms::owner_read | perms::owner_write, perms::all, perms::group_write}) {
    write_file(dir / "m.gguf", Bytes{1});
    std::filesystem::permissions(dir / "m.gguf", mode);
    auto writer = GgufWriter::create(dir / "m.gguf").value();
    ASSERT_TRUE(writer.finish().has_value());
    EXPECT_EQ(std::filesystem::status(dir / "m.gguf").permissions(), mode);
    std::filesystem::remove(dir / "m.gguf");
  }
}

TEST(GgufWriter, WritesUnderTheLongestName) {
  const TempDir dir;
  const std::string name = std::string(250, 'm') + ".gguf";
  auto writer = GgufWriter::create(dir / name).value();
  ASSERT_TRUE(writer.finish().has_value());
  EXPECT_TRUE(GgufFile::open(dir / name).has_value());
}

TEST(GgufWriter, RefusesPlacesWhereNoFileCanBe) {
  const TempDir dir;
  for (const auto& path :
       {dir / "absent/m.gguf", dir / "", std::filesystem::path("/dev/null"), std::filesystem::path()}) {
    const auto writer = GgufWriter::create(path);
    ASSERT_FALSE(writer.has_value()) << path;
    EXPECT_EQ(writer.error().kind, ErrorKind::IoError);
    EXPECT_THAT(writer.error().message, HasSubstr(path.string()));
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(GgufWriter, RefusesToReplaceAReadOnlyFile) {
  const TempDir dir;
  write_file(dir / "m.gguf", Bytes{1, 2, 3});
  std::filesystem::permissions(dir / "m.gguf", std::filesystem::perms::owner_read);
  const auto writer = GgufWriter::create(dir / "m.gguf");
  ASSERT_FALSE(writer.has_value());
  EXPECT_THAT(writer.error().message, HasSubstr("read-only"));
  EXPECT_EQ(read_file(dir / "m.gguf"), (Bytes{1, 2, 3}));
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(GgufWriter, WritesWhereALinkLeads) {
  const TempDir dir, elsewhere;
  write_file(elsewhere / "m.gguf", Bytes{1, 2, 3});
  std::filesystem::create_symlink(elsewhere / "m.gguf", dir / "link.gguf");
  auto writer = GgufWriter::create(dir / "link.gguf").value();
  EXPECT_EQ(elsewhere.entries(), 2u);
  ASSERT_TRUE(writer.finish().has_value());
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link.gguf"));
  EXPECT_TRUE(GgufFile::open(elsewhere / "m.gguf").has_value());
}

/// While it lives, no file of this process can grow beyond `bytes`: a full disk, made of what every machine has.
class FullDisk {
 public:
  explicit FullDisk(std::size_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(GgufWriter, AFullDiskIsAnErrorAndLeavesTheOldFile) {
  const TempDir dir;
  write_file(dir / "m.gguf", Bytes{1, 2, 3});
  for (const std::size_t room : {std::size_t{10}, std::size_t{5000}}) {  // in the header, in the data
    auto writer = GgufWriter::create(dir / "m.gguf").value();
    ASSERT_TRUE(writer.add_tensor("t", {100'000}, GgmlType::I8).has_value());
    EXPECT_EQ(dir.entries(), 2u);
    {
      const FullDisk full(room);
      expect_error(writer.write(Bytes(100'000)), ErrorKind::IoError, "cannot write");
    }
    EXPECT_EQ(dir.entries(), 1u);
    expect_error(writer.write(Bytes(1)), ErrorKind::IoError, "cannot write");
    expect_error(writer.finish(), ErrorKind::IoError, "cannot write");
    EXPECT_EQ(read_file(dir / "m.gguf"), (Bytes{1, 2, 3}));
  }
}

}  // namespace
}  // namespace mlx_native
