// How a CPU kernel sees the threads that run it: every worker enters the kernel and does its own part.
#pragma once

#include <cstddef>

#include "core/dialect.h"

namespace mlx_native::cpu {

class TeamState;

struct Range {
  uint64_t begin, end;
};

class Team {
 public:
  /// Bytes of a worker's own memory. Half a typical L2.
  static constexpr std::size_t kLocalBytes = std::size_t{512} << 10;

  Team(TeamState& state, uint32_t index, uint32_t count);

  K_FN uint32_t index() const { return index_; }
  K_FN uint32_t count() const { return count_; }
  /// kLocalBytes of this worker's own memory, 64-byte aligned, with any contents.
  K_FN std::byte* local() const { return local_; }

  /// This worker's share of n items, in whole pieces of `grain` items: contiguous, the same in every run.
  K_FN Range part(uint64_t n, uint64_t grain = 1) const {
    const uint64_t pieces = (n + grain - 1) / grain;
    const uint64_t begin = pieces * index_ / count_ * grain, end = pieces * (index_ + 1) / count_ * grain;
    return {begin < n ? begin : n, end < n ? end : n};
  }

  /// Hands n items, fewer than 2^32 pieces of `grain`, to whichever worker is free: body(Range) for one piece after the
  /// other. For work whose results do not depend on who does it; a core that another program shares does less of it.
  /// Every worker must call it.
  template <class Body>
  K_FN void share(uint64_t n, uint64_t grain, const Body& body) {
    ++loop_;
    for (uint64_t piece; claim((n + grain - 1) / grain, piece);)
      body(Range{piece * grain, (piece + 1) * grain < n ? (piece + 1) * grain : n});
  }

  /// Waits until every worker is here. Every worker must call it, whatever its part.
  void barrier();

 private:
  /// The next piece of the current loop, if any is left.
  bool claim(uint64_t pieces, uint64_t& piece);

  TeamState& state_;
  uint32_t index_, count_;
  uint32_t loop_ = 0;  ///< calls of share(), the same for every worker
  std::byte* local_;
};

}  // namespace mlx_native::cpu
