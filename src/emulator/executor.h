// Runs kernels, group by group. Shared by all emulator devices; callers take turns.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <span>
#include <utility>

#include "core/error.h"
#include "emulator/group.h"

namespace mlx_native::emulator {

struct Work {
  std::uint32_t groups, threads;
  std::size_t scratch_bytes;
  Body body;
  const void* args;
  std::size_t args_bytes;
};

class Executor {
 public:
  static constexpr std::size_t kMostArgsBytes = 512;

  /// The seed of all random choices is MLX_NATIVE_EMULATOR_SEED, else 1.
  static Executor& instance();
  explicit Executor(std::uint64_t seed) : random_(seed) {}

  std::mutex& turn() { return turn_; }
  Random& random() { return random_; }

  /// Runs all groups, in a random order. The text of the first fault, empty where there was none.
  std::string run(const Work& work);

 private:
  Group* group_of(std::uint32_t threads, std::uint32_t parity);

  std::mutex turn_;
  Random random_;
  // Kernels read their arguments here: the caller's stack would be reused while ThreadSanitizer takes them for running.
  alignas(16) std::byte args_[kMostArgsBytes];
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::unique_ptr<Group>> groups_;
};

/// Says which poisoned scratch word, if any, reached `bytes`, and where.
std::string find_poison(std::span<const std::byte> bytes);

/// What a KernelEntry of the emulator is called with.
class Launch {
 public:
  explicit Launch(Executor& executor) : executor_(executor) {}

  template <class Kernel>
  void run(std::uint32_t groups, const typename Kernel::Args& args) {
    static_assert(Kernel::kThreads % 32 == 0 && Kernel::kThreads <= 1024 && Kernel::kScratchBytes <= 32 << 10,
                  "what every GPU of today has");
    static_assert(sizeof(typename Kernel::Args) <= Executor::kMostArgsBytes);
    if (std::exchange(ran_, true)) fence();  // a command's kernels run one after the other
    if (fault_.empty())
      fault_ = executor_.run({.groups = groups,
                              .threads = Kernel::kThreads,
                              .scratch_bytes = Kernel::kScratchBytes,
                              .body =
                                  [](Thread t, const void* a, std::byte* scratch) {
                                    Kernel::run(t, *static_cast<const typename Kernel::Args*>(a),
                                                reinterpret_cast<float*>(scratch));
                                  },
                              .args = &args,
                              .args_bytes = sizeof args});
  }
  const std::string& fault() const { return fault_; }

 private:
  Executor& executor_;
  bool ran_ = false;
  std::string fault_;
};

}  // namespace mlx_native::emulator
