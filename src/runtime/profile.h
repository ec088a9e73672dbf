// Commands one at a time, each with its time: a queue around any backend's own.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mlx_native/profile.h"
#include "runtime/device_base.h"

namespace mlx_native::detail {

/// Safe from many threads.
class Profile {
 public:
  void add(const Command& command, double seconds);
  /// What took longest first.
  std::vector<ProfileEntry> entries() const;
  void reset();

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, ProfileEntry> entries_;  // by kernel and problem
};

class ProfilingQueue final : public Queue {
 public:
  /// `profile` outlives it.
  ProfilingQueue(std::unique_ptr<Queue> queue, Profile& profile) : queue_(std::move(queue)), profile_(profile) {}

  /// Waits after every command.
  Result<void> submit(std::span<const Command> commands) override;
  Result<void> wait() override { return queue_->wait(); }
  Result<std::unique_ptr<Replay>> prepare(std::span<const Command> commands) override;

 private:
  std::unique_ptr<Queue> queue_;
  Profile& profile_;
};

}  // namespace mlx_native::detail
