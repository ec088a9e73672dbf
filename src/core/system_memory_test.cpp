#include "core/system_memory.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace mlx_native {
namespace {

class MemoryLeft : public testing::Test {
 protected:
  void write(const std::string& file, const std::string& lines) { test::write_lines(dir_ / file, lines); }
  std::filesystem::path dir() const { return dir_ / ""; }
  std::optional<std::size_t> left(std::string_view memberships) const { return memory_left(dir(), memberships); }

 private:
  test::TempDir dir_;
};

TEST_F(MemoryLeft, IsTheLeastOfTheGroupsOfVersion2) {
  EXPECT_EQ(left("0::/\n"), std::nullopt) << "no files";
  write("a/b/memory.max", "max");
  write("a/b/memory.current", "700");
  EXPECT_EQ(left("0::/a/b\n"), std::nullopt);
  write("a/memory.max", "10000");
  write("a/memory.current", "4000");
  EXPECT_EQ(left("0::/a/b\n"), 6000u);
  write("a/memory.stat", "anon 3000\nfile 900\ninactive_file 500\nactive_file 200\nslab 1");
  EXPECT_EQ(left("0::/a/b\n"), 6700u) << "the cache of files gives way";
  write("a/b/memory.max", "1000");
  EXPECT_EQ(left("0::/a/b\n"), 300u);
  write("a/b/memory.current", "1001");
  EXPECT_EQ(left("0::/a/b\n"), 0u);
  EXPECT_EQ(left("0::/elsewhere\n"), std::nullopt);
  write("memory.max", "5000");
  EXPECT_EQ(left("0::/not/in/this/container\n"), 5000u);
}

TEST_F(MemoryLeft, IsThatOfTheMemoryControllerOfVersion1) {
  write("memory/x/memory.limit_in_bytes", "9223372036854771712");
  write("memory/x/memory.usage_in_bytes", "4096");
  EXPECT_EQ(left("4:memory:/x\n1:cpu:/\n0::/\n"), std::nullopt);
  write("memory/memory.limit_in_bytes", "10000");
  write("memory/memory.usage_in_bytes", "4000");
  write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\ntotal_active_file 500");
  EXPECT_EQ(left("4:memory:/x\n1:cpu:/\n0::/\n"), 7500u);
  EXPECT_EQ(left("1:cpu:/x\n"), std::nullopt);
}

TEST_F(MemoryLeft, NonsenseIsNoLimit) {
  write("memory.max", "");
  EXPECT_EQ(left("0::/\n"), std::nullopt);
  write("memory.max", "lots");
  EXPECT_EQ(left("0::/\nx\n:\n"), std::nullopt);
}

TEST_F(MemoryLeft, LimitIsTheLeastOfTheGroups) {
  const auto limit = [&](std::string_view memberships) { return memory_limit(dir(), memberships); };
  write("a/b/memory.max", "max");
  EXPECT_EQ(limit("0::/a/b\n"), std::nullopt);
  write("a/memory.max", "10000");
  write("a/memory.current", "4000");
  EXPECT_EQ(limit("0::/a/b\n"), 10000u);
  write("memory.max", "9000");
  EXPECT_EQ(limit("0::/a/b\n"), 9000u);
  write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(limit("4:memory:/\n"), std::nullopt);
  write("memory/memory.limit_in_bytes", "8000");
  EXPECT_EQ(limit("4:memory:/\n0::/a/b\n"), 8000u);
}

TEST(AvailableMemory, IsSomeOfWhatThereIs) {
  EXPECT_GT(available_memory(), 0u);
  EXPECT_LE(available_memory(), usable_memory());
}

}  // namespace
}  // namespace mlx_native
