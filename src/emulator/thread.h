// The thread context that the emulator hands to kernels.
#pragma once

#include <bit>
#include <cstdint>
#include <source_location>

namespace mlx_native::emulator {

class Group;

/// Where a kernel calls a collective: all threads must meet at the same one.
using Site = std::source_location;

class Thread {
 public:
  Thread(Group& owner, std::uint32_t index, std::uint32_t threads, std::uint32_t group, std::uint32_t groups)
      : owner_(owner), index_(index), threads_(threads), group_(group), groups_(groups) {}

  std::uint32_t thread_in_group() const { return index_; }
  std::uint32_t threads_in_group() const { return threads_; }
  std::uint32_t lane() const { return index_ % 32; }
  std::uint32_t simdgroup() const { return index_ / 32; }
  std::uint32_t simdgroups() const { return threads_ / 32; }
  std::uint32_t group() const { return group_; }
  std::uint32_t groups() const { return groups_; }

  /// Every thread of the group is here, and sees what the others wrote to scratch and memory before.
  void barrier(Site site = Site::current()) const;
  /// The sum over the simdgroup, in every lane: pairs 16 lanes apart first, then 8, 4, 2, 1. Orders no memory.
  float simd_sum(float x, Site site = Site::current()) const;
  /// The largest over the simdgroup, NaNs left out, in every lane; all NaN: NaN. Orders no memory.
  float simd_max(float x, Site site = Site::current()) const;
  /// The smallest over the simdgroup, in every lane. Orders no memory.
  std::uint32_t simd_min(std::uint32_t x, Site site = Site::current()) const;
  /// The value of `lane`, which all lanes must name alike. Orders no memory.
  std::uint32_t simd_broadcast(std::uint32_t x, std::uint32_t lane, Site site = Site::current()) const;
  float simd_broadcast(float x, std::uint32_t lane, Site site = Site::current()) const {
    return std::bit_cast<float>(simd_broadcast(std::bit_cast<std::uint32_t>(x), lane, site));
  }
  /// The value of the lane whose number differs in the bits of `mask`, which all lanes must name alike. Orders no
  /// memory.
  float simd_shuffle_xor(float x, std::uint32_t mask, Site site = Site::current()) const;

 private:
  Group& owner_;
  std::uint32_t index_, threads_, group_, groups_;
};

}  // namespace mlx_native::emulator
