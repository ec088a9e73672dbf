#include "cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

namespace mlx_native::cpu {
namespace {

TEST(TeamPart, CoversEverythingOnceInWholeGrains) {
  for (const std::uint32_t count : {1u, 2u, 3u, 7u, 16u}) {
    TeamState state(count);
    for (const std::uint64_t n : {0u, 1u, 2u, 5u, 16u, 17u, 1000u})
      for (const std::uint64_t grain : {1u, 3u, 16u, 2000u}) {
        std::uint64_t at = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
          const Range part = Team(state, i, count).part(n, grain);
          EXPECT_EQ(part.begin, at);
          EXPECT_GE(part.end, part.begin);
          EXPECT_TRUE(part.end % grain == 0 || part.end == n);
          at = part.end;
        }
        EXPECT_EQ(at, n) << count << " workers, grain " << grain;
      }
  }
}

class Pool : public testing::TestWithParam<std::uint32_t> {};
// More workers than any machine of CI has cores: the last ones.
INSTANTIATE_TEST_SUITE_P(Workers, Pool, testing::Values(1, 2, 3, 4, 9, 33));

TEST_P(Pool, EveryWorkerRunsOncePerCall) {
  ThreadPool pool(GetParam());
  std::vector<int> calls(GetParam(), 0);
  for (int run = 0; run < 200; ++run)
    pool.run([&](Team& team) {
      ASSERT_EQ(team.count(), GetParam());
      ++calls[team.index()];
    });
  EXPECT_EQ(calls, std::vector<int>(GetParam(), 200));
}

TEST_P(Pool, BarriersSeparatePhases) {
  ThreadPool pool(GetParam());
  const std::uint32_t n = GetParam();
  std::vector<std::uint64_t> values(n, 1), next(n);
  const int phases = n > 8 ? 30 : 300;
  // Each phase every worker adds up its neighbours, which others have just written.
  pool.run([&](Team& team) {
    for (int phase = 0; phase < phases; ++phase) {
      next[team.index()] = values[team.index()] + values[(team.index() + 1) % n] % 1000;
      team.barrier();
      values[team.index()] = next[team.index()];
      team.barrier();
    }
  });
  std::vector<std::uint64_t> wanted(n, 1);
  for (int phase = 0; phase < phases; ++phase) {
    std::vector<std::uint64_t> after(n);
    for (std::uint32_t i = 0; i < n; ++i) after[i] = wanted[i] + wanted[(i + 1) % n] % 1000;
    wanted = after;
  }
  EXPECT_EQ(values, wanted);
}

TEST_P(Pool, LocalMemoryIsOfEachWorkerAlone) {
  ThreadPool pool(GetParam());
  pool.run([&](Team& team) {
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(team.local()) % 64, 0u);
    std::fill_n(team.local(), Team::kLocalBytes, std::byte(team.index()));
    team.barrier();
    for (std::size_t i = 0; i < Team::kLocalBytes; i += 4095) ASSERT_EQ(team.local()[i], std::byte(team.index()));
  });
}

TEST(ThreadPool, WakesAfterSleepAndServesCallersInTurn) {
  ThreadPool pool(3);
  std::uint64_t total = 0;  // guarded by the pool: one run at a time, and only the first worker adds
  const auto call = [&](int runs) {
    for (int i = 0; i < runs; ++i) {
      pool.run([&](Team& team) {
        if (team.index() == 0) ++total;
      });
      if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) callers.emplace_back(call, 200);
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 800u);
}

}  // namespace
}  // namespace mlx_native::cpu
