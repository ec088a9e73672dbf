// How a CPU kernel sees the threads that run it: every worker enters the kernel and does its own part.
#pragma once

#include <cstddef>

#include "core/dialect.h"

namespace mlx_native::cpu {

class TeamState;

struct Range {
  uint64_t begin, end;
};

/// How work is shared: in pieces of `most` times `grain` items, smaller ones towards the end.
struct Pieces {
  uint64_t grain, most = 1;
};

class Team {
 public:
  /// Bytes of a worker's own memory. Half a typical L2.
  static constexpr std::size_t kLocalBytes = std::size_t{512} << 10;
  static constexpr uint64_t kMostGrains = 1000000;

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

  /// body(Range) for one piece after the other of n items: first, in order, pieces of this worker's part(n, grain),
  /// then from the end of what others still have of theirs. So memory is read as a stream, and a core that another
  /// program shares does less. A piece is never more than half of what its part still has, unless that is one grain, so
  /// that all workers end within about a grain. For work whose results do not depend on who does it. Grains are larger
  /// where there would be more than kMostGrains of them. Every worker must call it.
  template <class Body>
  K_FN void share(uint64_t n, Pieces pieces, const Body& body) {
    auto [grain, most] = pieces;
    while (n / grain >= kMostGrains) grain *= 2;
    const auto items = [&](Range grains) {
      return Range{grains.begin * grain, grains.end * grain < n ? grains.end * grain : n};
    };
    const uint64_t grains = (n + grain - 1) / grain;
    if (count_ == 1) {
      for (uint64_t at = 0; at < grains; at += most) body(items({at, at + most}));
      return;
    }
    ++loop_;
    for (uint32_t i = 0; i < count_; ++i) {
      const uint32_t owner = index_ + i < count_ ? index_ + i : index_ + i - count_;
      for (Range piece; claim(owner, grains, most, piece);) body(items(piece));
    }
  }

  /// Waits until every worker is here. Every worker must call it, whatever its part.
  void barrier();

  /// A barrier at which one worker does something for all. True for the last one to come, at once; false for the
  /// others, when that one has called release().
  bool meet();
  void release();
  /// This worker and its memory as a team of one.
  Team alone() const;

 private:
  /// At most `most` of the current loop's grains out of the part of `owner`, if any are left there.
  bool claim(uint32_t owner, uint64_t grains, uint64_t most, Range& piece);

  TeamState& state_;
  uint32_t index_, count_;
  uint32_t loop_ = 0;  ///< calls of share(), the same for every worker
  std::byte* local_;
};

}  // namespace mlx_native::cpu
