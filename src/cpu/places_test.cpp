#include "cpu/places.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace mlx_native::cpu {
namespace {

cpu_set_t mask_of_thread() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  EXPECT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
  return mask;
}

void go_to(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
}

TEST(Places, AWorkerLeavesTheCpuOfAnotherAndKeepsItsMask) {
  const cpu_set_t before = mask_of_thread();
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one CPU";
  std::thread([&] {
    // The kernel may move a thread at any time: what is seen must be seen once.
    bool left = false;
    for (int i = 0; i < 100 && !left; ++i) {
      Places places(2);
      const int cpu = ::sched_getcpu();
      go_to(cpu);
      places.settle(0);
      ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
      if (::sched_getcpu() != cpu) continue;
      places.settle(1);
      left = ::sched_getcpu() != cpu;
      const cpu_set_t after = mask_of_thread();
      EXPECT_TRUE(CPU_EQUAL(&before, &after));
    }
    EXPECT_TRUE(left);
  }).join();
}

TEST(Places, WhoeverHasNowhereElseToGoStays) {
  std::thread([] {
    go_to(::sched_getcpu());
    const cpu_set_t one = mask_of_thread();
    Places places(3);
    for (const std::uint32_t index : {0u, 1u, 2u, 1u}) places.settle(index);
    const cpu_set_t after = mask_of_thread();
    EXPECT_TRUE(CPU_EQUAL(&one, &after));
  }).join();
}

TEST(Places, WhoSleepsStaysOnOneCpuAndHasItsMaskBack) {
  const cpu_set_t before = mask_of_thread();
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one CPU";
  std::thread([&] {
    Places places(2);
    {
      const Places::Stay stay(places, 1);
      const cpu_set_t during = mask_of_thread();
      EXPECT_EQ(CPU_COUNT(&during), 1);
      EXPECT_TRUE(CPU_ISSET(::sched_getcpu(), &during));
    }
    const cpu_set_t after = mask_of_thread();
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
  }).join();
}

TEST(Places, AMaskThatWasSetDuringASleepIsLeftAlone) {
  const cpu_set_t before = mask_of_thread();
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one CPU";
  std::thread([&] {
    Places places(2);
    int other = 0;
    {
      const Places::Stay stay(places, 0);
      const cpu_set_t during = mask_of_thread();
      while (!CPU_ISSET(other, &before) || CPU_ISSET(other, &during)) ++other;
      go_to(other);
    }
    const cpu_set_t after = mask_of_thread();
    EXPECT_EQ(CPU_COUNT(&after), 1);
    EXPECT_TRUE(CPU_ISSET(other, &after));
  }).join();
}

TEST(Places, TwoWhoSleepOnOneCpuPart) {
  const cpu_set_t before = mask_of_thread();
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one CPU";
  std::thread([&] {
    Places places(2);
    cpu_set_t masks[2];
    for (const std::uint32_t index : {0u, 1u}) {
      const Places::Stay stay(places, index);
      masks[index] = mask_of_thread();
    }
    EXPECT_FALSE(CPU_EQUAL(&masks[0], &masks[1]));
  }).join();
}

}  // namespace
}  // namespace mlx_native::cpu
