#include "runtime/profile.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "runtime/work.h"

namespace mlx_native::detail {

namespace {

class ProfilingReplay final : public Replay {
 public:
  ProfilingReplay(Queue& queue, std::span<const Command> commands) : queue_(queue), commands_(commands) {}
  Result<void> run() override { return queue_.submit(commands_); }

 private:
  Queue& queue_;
  std::span<const Command> commands_;
};

}  // namespace

void Profile::add(const Command& command, double seconds) {
  Work work = work_of(command);
  const std::lock_guard lock(mutex_);
  ProfileEntry& entry = entries_[{command.kernel->name, work.problem}];
  if (entry.calls == 0) {
    entry.op = op_name(command.kernel->op);
    entry.kernel = command.kernel->name;
    entry.problem = std::move(work.problem);
  }
  ++entry.calls;
  entry.seconds += seconds;
  entry.bytes += work.bytes;
  entry.operations += work.operations;
}

std::vector<ProfileEntry> Profile::entries() const {
  std::vector<ProfileEntry> result;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, entry] : entries_) result.push_back(entry);
  std::ranges::sort(result, std::ranges::greater(), &ProfileEntry::seconds);
  return result;
}

void Profile::reset() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

Result<void> ProfilingQueue::submit(std::span<const Command> commands) {
  for (const Command& command : commands) {
    const auto start = std::chrono::steady_clock::now();
    MLXN_TRY(queue_->submit({&command, 1}));
    MLXN_TRY(queue_->wait());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    profile_.add(command, seconds.count());
  }
  return {};
}

Result<std::unique_ptr<Replay>> ProfilingQueue::prepare(std::span<const Command> commands) {
  return std::make_unique<ProfilingReplay>(*this, commands);
}

}  // namespace mlx_native::detail
