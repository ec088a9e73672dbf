#include "cpu/topology.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "support/temp_dir.h"

namespace mlx_native::cpu {
namespace {

class CpuQuota : public testing::Test {
 protected:
  void write(const std::string& file, const std::string& lines) { test::write_lines(dir_ / file, lines); }
  std::optional<double> quota(std::string_view memberships) const { return cpu_quota(dir_ / "", memberships); }

 private:
  test::TempDir dir_;
};

TEST_F(CpuQuota, IsTheLeastOfTheGroupsOfVersion2) {
  EXPECT_EQ(quota("0::/\n"), std::nullopt) << "no files";
  write("a/b/cpu.max", "max 100000");
  EXPECT_EQ(quota("0::/a/b\n"), std::nullopt);
  write("a/cpu.max", "250000 100000");
  EXPECT_EQ(quota("0::/a/b\n"), 2.5);
  write("a/b/cpu.max", "50000 100000");
  EXPECT_EQ(quota("0::/a/b\n"), 0.5);
  EXPECT_EQ(quota("0::/a\n"), 2.5);
  EXPECT_EQ(quota("0::/elsewhere\n"), std::nullopt);
  write("cpu.max", "100000 50000");
  EXPECT_EQ(quota("0::/not/in/this/container\n"), 2.0);
}

TEST_F(CpuQuota, IsThatOfTheCpuControllerOfVersion1) {
  write("cpu/x/cpu.cfs_quota_us", "-1");
  write("cpu/x/cpu.cfs_period_us", "100000");
  EXPECT_EQ(quota("9:name=systemd:/\n1:cpuset:/x\n5:cpuacct,cpu:/x\n"), std::nullopt);
  write("cpu/x/cpu.cfs_quota_us", "300000");
  EXPECT_EQ(quota("9:name=systemd:/\n5:cpuacct,cpu:/x\n"), 3.0);
  EXPECT_EQ(quota("1:cpuset:/x\n2:cpuacct:/x\n"), std::nullopt);
}

TEST_F(CpuQuota, NonsenseIsNoLimit) {
  write("cpu.max", "");
  EXPECT_EQ(quota("0::/\n"), std::nullopt);
  write("cpu.max", "100000 0");
  EXPECT_EQ(quota("0::/\n"), std::nullopt);
  write("cpu.max", "0 100000");
  EXPECT_EQ(quota("0::/\nx\n:\n"), std::nullopt);
}

TEST(UsableCores, AreThoseOfTheAffinityMask) {
  EXPECT_GE(usable_cores(), 1u);
  EXPECT_LE(usable_cores(), std::max(1u, std::thread::hardware_concurrency()));
  // Of a thread, not of the process: the rest of the tests keeps its cores.
  std::thread([] {
    cpu_set_t mask, one;
    CPU_ZERO(&mask);
    ASSERT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &mask)) ++cpu;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_cores(), 1u);
  }).join();
}

}  // namespace
}  // namespace mlx_native::cpu
