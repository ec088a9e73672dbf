// What a team of threads costs: a run of nothing, a barrier, and even work in between, alone and beside other programs
// that want the same cores.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "cpu/thread_pool.h"

namespace bench {
namespace {

using mlx_native::cpu::Range;
using mlx_native::cpu::Team;
using mlx_native::cpu::ThreadPool;
using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

struct Times {
  double median, mean, worst;
};

/// Of `runs` calls, after as many to warm up.
template <class Run>
Times time_of(int runs, const Run& run) {
  std::vector<double> times;
  for (int i = 0; i < 2 * runs; ++i) {
    const auto start = Clock::now();
    run();
    if (i >= runs) times.push_back(microseconds(Clock::now() - start));
  }
  std::ranges::sort(times);
  double sum = 0;
  for (const double t : times) sum += t;
  return {times[times.size() / 2], sum / runs, times.back()};
}

void print(std::uint32_t threads, int others, const char* what, const Times& t, double per) {
  fmt::print("{:>7} {:>6}  {:<40} {:>10.3f} {:>10.3f} {:>10.1f}\n", threads, others, what, t.median / per, t.mean / per,
             t.worst);
}

/// Busy for so long; what is counted cannot be optimised away.
void work(double us) {
  const auto until =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::micro>(us));
  while (Clock::now() < until) {
  }
}

void measure(std::uint32_t threads, int others) {
  ThreadPool pool(threads);
  print(threads, others, "a run of nothing", time_of(2000, [&] { pool.run([](Team&) {}); }), 1);
  constexpr int kBarriers = 200;
  print(threads, others, "a barrier",
        time_of(100,
                [&] {
                  pool.run([](Team& team) {
                    for (int i = 0; i < kBarriers; ++i) team.barrier();
                  });
                }),
        kBarriers);
  // As a decode step: loops of small pieces, each handed to whoever is free, with barriers between.
  constexpr int kLoops = 100;
  print(threads, others, "a loop of 100 us of work, by pieces of 2",
        time_of(20,
                [&] {
                  pool.run([&](Team& team) {
                    for (int i = 0; i < kLoops; ++i) {
                      team.share(50, {1}, [&](Range) { work(2); });
                      team.barrier();
                    }
                  });
                }),
        kLoops);
}

int run(int argc, char** argv) {
  CLI::App app("what a team of threads costs");
  std::vector<std::uint32_t> threads{1, 4};
  std::vector<int> others{0, 1};
  app.add_option("-t,--threads", threads)->delimiter(',');
  app.add_option("--others", others, "threads that only burn time beside it")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  fmt::print("{:>7} {:>6}  {:<40} {:>10} {:>10} {:>10}\n", "threads", "others", "microseconds of", "median", "mean",
             "worst");
  for (const int n : others) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> burners;
    for (int i = 0; i < n; ++i)
      burners.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) {
        }
      });
    for (const std::uint32_t t : threads) measure(t, n);
    stop = true;
    for (std::thread& burner : burners) burner.join();
  }
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv); }
