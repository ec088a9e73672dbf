// One group of threads, each on its fiber, in random order from collective to collective.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "emulator/fiber.h"
#include "emulator/thread.h"

namespace mlx_native::emulator {

/// What a thread runs.
using Body = void (*)(Thread thread, const void* args, std::byte* scratch);

/// xorshift64*: the order of everything that a GPU leaves open.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(random_bits(seed, 0) | 1) {}
  std::uint32_t below(std::uint32_t n) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::uint32_t>((state_ * 0x2545f4914f6cdd1du >> 32) * n >> 32);
  }

 private:
  std::uint64_t state_;
};

/// Scratch starts as NaNs that tell which word they are; arithmetic keeps their payload. The lowest bit is set, which
/// no NaN that comes from a half or bfloat has.
inline constexpr std::uint32_t kPoison = 0x7fd58001u;
inline std::uint32_t poison_of(std::size_t word) { return kPoison | static_cast<std::uint32_t>(word & 0x3fff) << 1; }
inline bool is_poison(std::uint32_t bits) { return (bits & ~(0x3fffu << 1)) == kPoison; }
inline std::uint32_t poisoned_word(std::uint32_t bits) { return bits >> 1 & 0x3fff; }

class Group {
 public:
  explicit Group(std::uint32_t threads);

  /// False where memory for the stacks ran out.
  bool valid() const;
  std::uint32_t threads() const { return static_cast<std::uint32_t>(lanes_.size()); }

  /// Runs group `index` of `count` to its end. Returns what went wrong, empty where nothing did.
  std::string run(Body body, const void* args, std::byte* scratch, std::uint32_t index, std::uint32_t count,
                  Random& random);

  // Called by threads.
  void barrier(std::uint32_t thread, const Site& site);
  enum class Collective { Barrier, Sum, Max, Min, Broadcast, ShuffleXor };
  std::uint32_t exchange(std::uint32_t thread, Collective kind, std::uint32_t value, std::uint32_t source,
                         const Site& site);

 private:
  /// Where threads wait for each other: the whole group, or a simdgroup.
  struct Meeting {
    std::uint32_t first = 0, size = 0, arrived = 0;
    std::uint32_t source = 0;  // a lane, or the mask of a shuffle
    std::uint32_t values[32] = {}, results[32] = {};
  };
  struct Lane {
    Group* group = nullptr;
    std::uint32_t index = 0;
    enum class State { Fresh, Running, Waiting, Returned } state = State::Fresh;
    Collective at = Collective::Barrier;
    Site site;
    Fiber fiber;
  };

  static void lane_main(void* lane);
  /// Takes the lane that runs next out of ready_.
  Lane* next(Random& random, bool uneven, std::uint32_t favourite);
  /// Waits until all threads of the meeting are at `site`.
  void meet(Meeting& meeting, Lane& lane, Collective kind, const Site& site);
  void complete(Meeting& meeting, Collective kind);
  /// Ends the group with this message; called on a fiber, never returns.
  [[noreturn]] void fail(Lane& lane, std::string message);
  std::string who_waits() const;

  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<Lane*> ready_;
  std::size_t ready_count_ = 0;
  std::vector<Meeting> simdgroups_;
  Meeting all_;
  Body body_ = nullptr;
  const void* args_ = nullptr;
  std::byte* scratch_ = nullptr;
  std::uint32_t index_ = 0, count_ = 0;
  bool failed_ = false;
  std::string message_;
  // ThreadSanitizer's for this barrier and the next: a thread may be at the next one before another has left this.
  char barrier_sync_[2] = {};
  std::uint32_t barriers_ = 0;
};

/// Names a collective's place: "barrier at mat_vec.h:154".
std::string describe(Group::Collective kind, const Site& site);

/// What a thread did before `fence()` is done for what is started after it; without it, work is unordered.
void begin_work();
void fence();

}  // namespace mlx_native::emulator
