#include "core/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "support/temp_dir.h"

namespace mlx_native {
namespace {

using test::TempDir;
using test::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void expect_io_error(const std::filesystem::path& path, const char* text) {
  for (const auto& file : {MappedFile::open(path), MappedFile::read(path)}) {
    ASSERT_FALSE(file.has_value()) << path;
    EXPECT_EQ(file.error().kind, ErrorKind::IoError);
    EXPECT_THAT(file.error().message, HasSubstr(text));
    EXPECT_THAT(file.error().message, HasSubstr(path.string()));
  }
}

TEST(MappedFile, HoldsTheBytesOfAFile) {
  const TempDir dir;
  write_file(dir / "file", std::vector<std::uint8_t>{1, 2, 3});
  const auto file = MappedFile::open(dir / "file");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_THAT((*file)->bytes(), ElementsAre(1, 2, 3));
  std::filesystem::remove(dir / "file");
  EXPECT_THAT((*file)->bytes(), ElementsAre(1, 2, 3)) << "the mapping outlives the name";
}

TEST(MappedFile, ReadsAFileIntoMemoryOfItsOwn) {
  const TempDir dir;
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, (std::size_t{20} << 20) + 5}) {
    std::vector<std::uint8_t> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 1000);
    write_file(dir / "file", bytes);
    const auto file = MappedFile::read(dir / "file");
    ASSERT_TRUE(file.has_value()) << file.error().message;
    write_file(dir / "file", std::vector<std::uint8_t>{1});
    EXPECT_TRUE((*file)->check_not_shrunk().has_value());
    EXPECT_TRUE(std::ranges::equal((*file)->bytes(), bytes)) << size << " bytes, whatever becomes of the file";
  }
}

TEST(MappedFile, ReadsNoMoreThanThereIsMemory) {
  const TempDir dir;
  write_file(dir / "file", {});
  std::filesystem::resize_file(dir / "file", std::uintmax_t{1} << 42);  // all hole
  const auto file = MappedFile::read(dir / "file");
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().kind, ErrorKind::BufferAllocationError);
}

TEST(MappedFile, MayBeEmpty) {
  const TempDir dir;
  write_file(dir / "empty", {});
  const auto file = MappedFile::open(dir / "empty");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST(MappedFile, OpensRegularFilesOnly) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  expect_io_error(dir / "fifo", "a FIFO");
  expect_io_error(dir / "", "a directory");
  expect_io_error("/dev/zero", "a device");
  expect_io_error(dir / "absent", "No such file");
  std::filesystem::create_symlink("loop", dir / "loop");
  expect_io_error(dir / "loop", "symbolic links");
}

TEST(MappedFile, NoticesThatTheFileHasShrunk) {
  const TempDir dir;
  write_file(dir / "file", std::vector<std::uint8_t>(10000, 7));
  const auto file = MappedFile::open(dir / "file");
  ASSERT_TRUE(file.has_value());
  EXPECT_TRUE((*file)->check_not_shrunk().has_value());
  std::filesystem::resize_file(dir / "file", 20000);
  EXPECT_TRUE((*file)->check_not_shrunk().has_value());
  EXPECT_EQ((*file)->bytes().size(), 10000u);
  std::filesystem::resize_file(dir / "file", 9999);
  const auto checked = (*file)->check_not_shrunk();
  ASSERT_FALSE(checked.has_value());
  EXPECT_EQ(checked.error().kind, ErrorKind::IoError);
}

}  // namespace
}  // namespace mlx_native
