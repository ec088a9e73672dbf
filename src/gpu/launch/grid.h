#pragma once

#include <cstdint>

namespace mlx_native::gpu {

/// Groups beyond this many loop inside the kernel: above any machine's width, below every API's limit.
inline constexpr std::uint64_t kMaxGroups = std::uint64_t{1} << 30;

inline std::uint32_t group_count(std::uint64_t units) {
  return static_cast<std::uint32_t>(units < kMaxGroups ? units : kMaxGroups);
}
inline std::uint64_t tiles(std::uint64_t n, std::uint64_t tile) { return n / tile + (n % tile != 0); }

}  // namespace mlx_native::gpu
