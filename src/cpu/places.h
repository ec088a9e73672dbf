#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace mlx_native::cpu {

/// On which CPUs the workers of a team run. A worker that wakes where another one runs makes all others wait at the
/// next barrier, and the kernel takes milliseconds to separate the two.
class Places {
 public:
  explicit Places(std::uint32_t count);

  /// Called by a worker when it begins. A worker that shares its CPU with another moves to a free one, if its affinity
  /// mask has one; from there the kernel may move it as before.
  void settle(std::uint32_t index);

  /// While a worker sleeps: it wakes on the CPU where it was, if no other worker is there. Left to itself, the kernel
  /// of a virtual machine takes a halted CPU for a busy one, and wakes all workers on the CPU of the one that wakes
  /// them.
  class Stay {
   public:
    Stay(Places& places, std::uint32_t index);
    ~Stay();
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;

   private:
    bool changed_ = false;
    cpu_set_t before_, here_;  ///< affinity masks
  };

 private:
  bool taken(int cpu, std::uint32_t but) const;

  static constexpr int kNone = -1;
  const std::uint32_t count_;
  std::unique_ptr<std::atomic<int>[]> cpus_;  ///< each written by its worker alone, and only when it changes
};

}  // namespace mlx_native::cpu
