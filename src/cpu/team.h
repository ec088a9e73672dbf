// How a CPU kernel sees the threads that run it: every worker enters the kernel and does its own part.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mlx_native::cpu {

class TeamState;

struct Range {
  std::uint64_t begin, end;
};

class Team {
 public:
  Team(TeamState& state, std::uint32_t index, std::uint32_t count) : state_(state), index_(index), count_(count) {}

  std::uint32_t index() const { return index_; }
  std::uint32_t count() const { return count_; }

  /// This worker's share of n items, in whole pieces of `grain` items: contiguous, the same in every run.
  Range part(std::uint64_t n, std::uint64_t grain = 1) const {
    const std::uint64_t pieces = (n + grain - 1) / grain;
    const std::uint64_t begin = pieces * index_ / count_ * grain, end = pieces * (index_ + 1) / count_ * grain;
    return {begin < n ? begin : n, end < n ? end : n};
  }

  /// Waits until every worker is here. Every worker must call it, whatever its part.
  void barrier();

  /// `bytes` of this worker's own memory, 64-byte aligned, until its next call; any contents. Null where memory ran
  /// out.
  std::byte* local(std::size_t bytes);

 private:
  TeamState& state_;
  std::uint32_t index_, count_;
};

}  // namespace mlx_native::cpu
