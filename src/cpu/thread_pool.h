#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/team.h"

namespace mlx_native::cpu {

/// How long a worker spins before it sleeps. Spinning is cheaper than a system call where the others run; where they do
/// not, because there are more threads than cores, it keeps them from running. So a worker that had to sleep spins half
/// as long the next time, and one that did not, twice as long.
class Patience {
 public:
  /// Returns when `value` is not `old`.
  void wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old);

 private:
  static constexpr int kLeast = 1024, kMost = 8192;  // pauses: about 15 and 120 microseconds
  int spins_ = kMost;
};

/// What the workers of one pool share.
class TeamState {
 public:
  explicit TeamState(std::uint32_t count);

  void barrier(std::uint32_t index);
  std::byte* local(std::uint32_t index) const { return local_.get() + index * Team::kLocalBytes; }
  Patience& patience(std::uint32_t index) { return workers_[index].patience; }
  bool claim(std::uint32_t loop, std::uint64_t pieces, std::uint64_t& piece);

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  struct alignas(64) Worker {
    Patience patience;
  };
  const std::uint32_t count_;
  std::unique_ptr<std::byte[], Free> local_;
  std::vector<Worker> workers_;
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
  /// Of a loop in progress: its number in the high half, the next piece in the low one. Without a barrier between them
  /// workers can be in different loops; whoever is ahead has seen the end of those behind, so a counter that tells of a
  /// later loop says that this one is over.
  std::array<std::atomic<std::uint64_t>, 8> loops_{};
};

/// `count` workers, the caller of run() being the first.
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
  Team first_;
  std::mutex turn_;
  const std::function<void(Team&)>* body_ = nullptr;
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  alignas(64) std::atomic<std::uint32_t> running_{0};
  std::vector<std::thread> threads_;
};

}  // namespace mlx_native::cpu
