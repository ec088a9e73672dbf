#include "cpu/run_commands.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "cpu/thread_pool.h"

namespace mlx_native::cpu {
namespace {

using detail::Command;
using detail::Kernel;

/// What a command of these tests leaves: how often it began, by how large a team, and what was done by then.
struct Trace {
  std::mutex mutex;
  std::uint32_t calls = 0, team = 0, earlier_calls = 0;
};
struct Args {
  Trace* mine;
  Trace* before;  ///< the command before it; null: none
};

void trace(const void* args, void* where) {
  const auto& [mine, before] = *static_cast<const Args*>(args);
  std::uint32_t earlier = 0;
  if (before) {
    const std::lock_guard lock(before->mutex);
    earlier = before->calls;
  }
  const std::lock_guard lock(mine->mutex);
  if (mine->calls++ == 0) mine->earlier_calls = earlier;
  mine->team = static_cast<Team*>(where)->count();
}

std::shared_ptr<const Kernel> kernel(bool brief) {
  Kernel made{};
  made.name = brief ? "brief" : "long";
  made.entry = trace;
  if (brief) made.brief = [](const void*) { return true; };
  return std::make_shared<const Kernel>(std::move(made));
}

struct Step {
  bool brief, barrier;
};

/// Runs them on four workers.
std::vector<Trace> run(const std::vector<Step>& steps) {
  std::vector<Trace> traces(steps.size());
  std::vector<Command> commands(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    commands[i].kernel = kernel(steps[i].brief);
    commands[i].barrier = steps[i].barrier;
    const Args args{&traces[i], i ? &traces[i - 1] : nullptr};
    std::memcpy(commands[i].args.data(), &args, sizeof args);
  }
  ThreadPool pool(4);
  pool.run([&](Team& team) { run_commands(commands, team); });
  return traces;
}

TEST(RunCommands, LongOnesAreOfAllWorkersAndBriefOnesOfOneInOrder) {
  for (int turn = 0; turn < 200; ++turn) {
    const auto traces = run({{false, false}, {true, true}, {true, true}, {true, false}, {false, true}, {true, true}});
    const std::uint32_t calls[] = {4, 1, 1, 1, 4, 1}, teams[] = {4, 1, 1, 1, 4, 1}, earlier[] = {0, 4, 1, 1, 1, 4};
    for (std::size_t i = 0; i < traces.size(); ++i) {
      EXPECT_EQ(traces[i].calls, calls[i]) << i;
      EXPECT_EQ(traces[i].team, teams[i]) << i;
      EXPECT_EQ(traces[i].earlier_calls, earlier[i]) << i;
    }
  }
}

TEST(RunCommands, BriefOnesThatNeedNoBarrierMakeNone) {
  for (const auto& trace : run({{false, false}, {true, false}, {false, false}, {true, false}})) {
    EXPECT_EQ(trace.calls, 4u);
    EXPECT_EQ(trace.team, 4u);
  }
}

TEST(RunCommands, BriefOnesAtTheStartAndAlone) {
  const auto start = run({{true, false}, {false, true}});
  EXPECT_EQ(start[0].calls, 1u);
  EXPECT_EQ(start[1].earlier_calls, 1u);
  EXPECT_EQ(run({{true, false}, {true, true}})[1].calls, 1u);
  EXPECT_EQ(run({{true, false}})[0].calls, 4u);
}

}  // namespace
}  // namespace mlx_native::cpu
