#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/places.h"
#include "cpu/team.h"

namespace mlx_native::cpu {

/// A counter that threads wait on.
class Signal {
 public:
  std::uint32_t load() const { return value_.load(std::memory_order_acquire); }
  /// Increments it and wakes those who wait. Whoever sees the new number sees what the caller did before.
  void next();
  /// Returns when the number is no longer `old`. Spins for a moment, which is cheapest while the others are running;
  /// then yields the core, which costs next to nothing where nobody wants it; finally, or where other programs take the
  /// core for long, worker `index` sleeps at its place.
  void wait_while(std::uint32_t old, Places& places, std::uint32_t index);

 private:
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t), "a futex");
  std::atomic<std::uint32_t> value_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

/// What the workers of one pool share.
class TeamState {
 public:
  explicit TeamState(std::uint32_t count);

  bool meet(std::uint32_t index);
  void release();
  Places& places() { return places_; }
  std::byte* local(std::uint32_t index) const { return local_.get() + index * Team::kLocalBytes; }
  /// Takes the first or the last of what is left of the `size` grains that `owner` has in a loop: `most` of them, or
  /// half if that is fewer, but at least one. False where none is left.
  bool claim(std::uint32_t loop, std::uint32_t owner, std::uint64_t size, bool first, std::uint64_t most, Range& piece);

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  const std::uint32_t count_;
  Places places_;
  std::unique_ptr<std::byte[], Free> local_;  ///< untouched here: a worker's part comes to its own NUMA node
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) Signal phase_;
  /// What is left of a worker's part of a loop: from high to low, 24 bits of the loop's number, and 20 bits each of the
  /// first grain and of the one behind the last. Without a barrier between loops workers can be in different ones; a
  /// worker that is ahead has seen the end of earlier loops, so where a part says that it is in a later loop, this one
  /// has nothing left there.
  struct alignas(64) Left {
    std::atomic<std::uint64_t> bits{0};
  };
  std::unique_ptr<Left[]> left_;
};

/// `count` workers, the caller of run() being the first.
class ThreadPool {
 public:
  /// Throws std::bad_alloc or std::system_error where memory or threads run out.
  explicit ThreadPool(std::uint32_t count);
  ~ThreadPool();

  std::uint32_t count() const { return count_; }
  /// False in a child of fork(), where there are no threads but the caller's.
  bool is_here() const { return threads_.empty() || ::getpid() == process_; }
  /// Calls body once on every worker and returns when all are done. Callers on several threads take turns.
  void run(const std::function<void(Team&)>& body);

 private:
  void work(std::uint32_t index);
  void stop();

  const std::uint32_t count_;
  const pid_t process_ = ::getpid();
  TeamState state_;
  Team first_;
  std::mutex turn_;
  const std::function<void(Team&)>* body_ = nullptr;
  std::atomic<bool> stopping_{false};
  alignas(64) Signal generation_;
  alignas(64) std::atomic<std::uint32_t> running_{0};
  alignas(64) Signal done_;  ///< runs
  std::vector<std::thread> threads_;
};

}  // namespace mlx_native::cpu
