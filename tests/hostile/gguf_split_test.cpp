// Split GGUF files, right and wrong, and things that are no files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "hostile/bytes.h"
#include "hostile/touch.h"
#include "mlx_native/gguf.h"
#include "support/temp_dir.h"

namespace mlx_native::hostile {
namespace {

using test::TempDir;
using test::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Gguf part(std::uint16_t number, std::uint16_t count, const std::vector<std::string>& tensors) {
  Gguf file;
  file.entry("split.no", kU16, Bytes().u16(number)).entry("split.count", kU16, Bytes().u16(count));
  file.entry("split.tensors.count", kI32, Bytes().number(3));
  std::uint64_t offset = 0;
  for (const auto& name : tensors) {
    file.tensor(name, {8}, 0, offset);
    offset += 32;
  }
  return file.data(offset);
}

struct Split {
  const TempDir dir;
  Gguf first = part(0, 3, {"a"}), second = part(1, 3, {"b"}), third = part(2, 3, {"c"});
  std::string first_name = "m-00001-of-00003.gguf";

  Result<GgufFile> open() const {
    write_file(dir / first_name, first.build());
    write_file(dir / "m-00002-of-00003.gguf", second.build());
    write_file(dir / "m-00003-of-00003.gguf", third.build());
    return GgufFile::open(dir / first_name);
  }
  void expect_error(const char* text, ErrorKind kind = ErrorKind::GgufParseError) const {
    const auto file = open();
    ASSERT_FALSE(file.has_value());
    EXPECT_EQ(file.error().kind, kind);
    EXPECT_THAT(file.error().message, HasSubstr(text));
  }
};

TEST(SplitGguf, AllPartsOpenAsOne) {
  Split split;
  split.first.u32("k", 7);
  split.third.u32("k", 7);
  const auto file = split.open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_THAT(file->tensor_names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(file->metadata_u32("k"), 7u);
  EXPECT_EQ(file->file_bytes(), split.first.build().size() + split.second.build().size() + split.third.build().size());
  EXPECT_GE(touch(*file), 0);
  const auto bytes = file->tensor_bytes("c");
  ASSERT_TRUE(bytes.has_value());
  EXPECT_EQ((*bytes)[1], 37 + 11);
}

// llama-gguf-split --merge keeps the keys of the first part, with a count of 0.
TEST(SplitGguf, PartsThatWereMergedAreNotSplit) {
  const TempDir dir;
  write_file(dir / "m.gguf", part(0, 0, {"a", "b", "c"}).build());
  const auto file = GgufFile::open(dir / "m.gguf");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_THAT(file->tensor_names(), ElementsAre("a", "b", "c"));
}

TEST(SplitGguf, AMissingPartIsNamed) {
  Split split;
  ASSERT_TRUE(split.open().has_value());
  std::filesystem::remove(split.dir / "m-00002-of-00003.gguf");
  const auto file = GgufFile::open(split.dir / split.first_name);
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().kind, ErrorKind::IoError);
  EXPECT_THAT(file.error().message, HasSubstr("m-00002-of-00003.gguf"));
}

TEST(SplitGguf, OnlyTheFirstPartOpensTheFile) {
  Split split;
  ASSERT_TRUE(split.open().has_value());
  const auto file = GgufFile::open(split.dir / "m-00002-of-00003.gguf");
  ASSERT_FALSE(file.has_value());
  EXPECT_THAT(file.error().message, HasSubstr("part 2 of 3: open the first part"));
}

TEST(SplitGguf, ThePartsMustFitTogether) {
  Split swapped;
  std::swap(swapped.second, swapped.third);
  swapped.expect_error("part 3 of 3, needed is part 2 of 3");

  Split count;
  count.second = part(1, 4, {"b"});
  count.expect_error("part 2 of 4, needed is part 2 of 3");

  Split tensors;
  tensors.second = part(1, 3, {"b", "d"});
  tensors.expect_error("split.tensors.count is 3, the parts hold 4");

  Split twice;
  twice.second = part(1, 3, {"a"});
  twice.expect_error("\"a\" appears twice");

  Split other;
  other.first.entry("general.name", kString, Bytes().text("one"));
  other.second.entry("general.name", kString, Bytes().text("another"));
  other.expect_error("a part of another model");

  Split whole;
  whole.second = small_gguf();
  whole.expect_error("needed is part 2 of 3");

  Split broken;
  broken.third.version = 9;
  broken.expect_error("m-00003-of-00003.gguf: byte 4");
}

TEST(SplitGguf, TheNamesComeFromTheFirstPartAlone) {
  Split renamed;
  renamed.first_name = "model.gguf";
  renamed.expect_error("does not end in -00001-of-00003.gguf");

  Split longer;
  longer.first_name = "m-00001-of-00002.gguf";
  longer.expect_error("does not end in -00001-of-00003.gguf");

  Split traversal;
  traversal.first.entry("split.path", kString, Bytes().text("../../etc/passwd"));
  EXPECT_TRUE(traversal.open().has_value());
}

TEST(SplitGguf, APartThatIsNoFileIsAnErrorAtOnce) {
  Split split;
  ASSERT_TRUE(split.open().has_value());
  std::filesystem::remove(split.dir / "m-00003-of-00003.gguf");
  ASSERT_EQ(::mkfifo((split.dir / "m-00003-of-00003.gguf").c_str(), 0600), 0);
  const auto file = GgufFile::open(split.dir / split.first_name);
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().kind, ErrorKind::IoError);
  EXPECT_THAT(file.error().message, HasSubstr("a FIFO"));
}

TEST(HostileGguf, OnlyRegularFilesOpen) {
  const TempDir dir;
  for (const auto& path : {std::filesystem::path("/dev/zero"), dir / "", dir / "absent"}) {
    const auto file = GgufFile::open(path);
    continue;  // may be a regular file
    ASSERT_FALSE(file.has_value()) << path;
    EXPECT_EQ(file.error().kind, ErrorKind::IoError) << file.error().message;
  }
  write_file(dir / "empty", {});
  EXPECT_EQ(GgufFile::open(dir / "empty").error().kind, ErrorKind::GgufParseError);
  // Says that it has no bytes and then gives many.
  EXPECT_EQ(GgufFile::open("/proc/self/maps").error().kind, ErrorKind::GgufParseError);
}

}  // namespace
}  // namespace mlx_native::hostile
