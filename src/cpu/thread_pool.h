#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/team.h"

namespace mlx_native::cpu {

/// What the workers of one pool share.
class TeamState {
 public:
  explicit TeamState(std::uint32_t count);

  void barrier();
  std::byte* local(std::uint32_t index) const { return local_.get() + index * Team::kLocalBytes; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  const std::uint32_t count_;
  std::atomic<std::uint32_t> arrived_{0};
  std::atomic<std::uint32_t> phase_{0};
  std::unique_ptr<std::byte[], Free> local_;
};

/// `count` workers, the caller of run() being the first. Between runs they spin for a moment, then sleep.
class ThreadPool {
 public:
  /// Throws std::bad_alloc or std::system_error where memory or threads run out.
  explicit ThreadPool(std::uint32_t count);
  ~ThreadPool();

  std::uint32_t count() const { return count_; }
  /// Calls body once on every worker and returns when all are done. Callers on several threads take turns.
  void run(const std::function<void(Team&)>& body);

 private:
  void work(std::uint32_t index);
  void stop();

  const std::uint32_t count_;
  TeamState state_;
  std::mutex turn_;
  const std::function<void(Team&)>* body_ = nullptr;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::uint32_t> running_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace mlx_native::cpu
