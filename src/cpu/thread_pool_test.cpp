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

TEST_P(Pool, SharedPiecesAreDoneOnceInLoopsWithoutBarriers) {
  const std::uint32_t workers = GetParam();
  ThreadPool pool(workers);
  const std::vector<std::uint64_t> sizes{0, 1, 3, workers, 100, 0, 1000};
  const int rounds = workers > 8 ? 10 : 100;
  std::vector<std::vector<int>> done;
  for (int round = 0; round < rounds; ++round)
    for (const std::uint64_t n : sizes) done.emplace_back(n, 0);
  pool.run([&](Team& team) {
    for (std::size_t i = 0; i < done.size(); ++i) {
      const std::uint64_t most = i % 2 ? 1 : 5;
      team.share(done[i].size(), {7, most}, [&](Range items) {
        ASSERT_LE(items.end - items.begin, 7 * most);
        for (std::uint64_t at = items.begin; at < items.end; ++at) ++done[i][at];
      });
    }
  });
  for (const std::vector<int>& loop : done) EXPECT_EQ(loop, std::vector<int>(loop.size(), 1));
}

TEST(TeamShare, GivesAWorkerItsOwnPartInOrderAndThenTheEndsOfOthers) {
  TeamState state(3);
  std::vector<std::uint64_t> order;
  Team second(state, 1, 3);
  second.share(9, {1}, [&](Range items) { order.push_back(items.begin); });
  EXPECT_EQ(order, (std::vector<std::uint64_t>{3, 4, 5, 8, 7, 6, 2, 1, 0}));
  Team(state, 0, 3).share(9, {1}, [&](Range) { FAIL() << "the loop is over"; });
}

TEST(TeamShare, PiecesBecomeSmallerTowardsTheEndOfAPart) {
  TeamState state(2);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pieces;
  Team(state, 0, 2).share(67, {3, 4}, [&](Range items) { pieces.emplace_back(items.begin, items.end); });
  // Eleven grains of its own, then twelve of the other's, the last of which is short.
  const decltype(pieces) own{{0, 12}, {12, 21}, {21, 27}, {27, 30}, {30, 33}};
  const decltype(pieces) others{{57, 67}, {45, 57}, {39, 45}, {36, 39}, {33, 36}};
  EXPECT_EQ(decltype(pieces)(pieces.begin(), pieces.begin() + 5), own);
  EXPECT_EQ(decltype(pieces)(pieces.begin() + 5, pieces.end()), others);
}

TEST(TeamShare, AWorkerMayComeLateByManyLoops) {
  TeamState state(2);
  Team late(state, 0, 2), busy(state, 1, 2);
  std::uint64_t done = 0;
  for (int loop = 0; loop < 70000; ++loop) busy.share(1, {1}, [&](Range) { ++done; });
  EXPECT_EQ(done, 70000u);
  for (int loop = 0; loop < 70000; ++loop) late.share(1, {1}, [&](Range) { FAIL() << "loop " << loop << " is over"; });
  late.share(4, {1}, [&](Range) { ++done; });
  EXPECT_EQ(done, 70004u);
}

TEST(TeamShare, MakesGrainsLargerWhereThereAreTooMany) {
  TeamState state(1);
  std::uint64_t at = 0;
  Team(state, 0, 1).share(5 * Team::kMostGrains + 3, {2}, [&](Range items) {
    ASSERT_EQ(items.begin, at);
    at = items.end;
  });
  EXPECT_EQ(at, 5 * Team::kMostGrains + 3);
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
