// Where the rings of cuda/vec and what lies behind them are in a group's shared memory, which begins with barriers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace mlx_native::cuda {

/// Bytes between rows of a ring that hold `units` units of `row_bytes` each: an odd number of 16 bytes, so that rows
/// lie in different banks. Rows that are not aligned begin up to 14 bytes behind where they are copied to.
inline std::uint32_t ring_pitch(std::uint32_t units, std::uint32_t row_bytes, bool aligned) {
  return ((units * row_bytes + (aligned ? 0 : 14) + 15) / 16 | 1) * 16;
}

/// Stages of a ring that are on their way at a time: about `bytes`, which keep memory busy. Behind more of them
/// activations would wait for their turn.
std::uint32_t stages_ahead(const auto& plan, std::uint32_t bytes) {
  return std::min(std::max((bytes - 1) / plan.stage_bytes + 1, 2u), plan.stages);
}

/// Deals out what lies behind the ring, whose size is what is left.
struct RingRoom {
  static constexpr std::uint32_t kRingAt = 256;  // barriers take less

  explicit RingRoom(std::uint32_t ring_at = kRingAt) : at_(ring_at) {}
  std::uint32_t take(std::size_t size) {
    const std::size_t begin = at_;
    at_ = (at_ + size + 127) / 128 * 128;
    return static_cast<std::uint32_t>(begin);
  }
  void leave(std::size_t size) { at_ += size; }

  struct Stages {
    std::uint32_t fewest, most;
    std::uint32_t teams = 1;  // their number is a multiple of
  };
  /// Sets a plan's stages, shared_bytes and what take() returned. False where `bytes` are too few.
  template <class Plan>
  bool put_ring(Plan& plan, std::size_t bytes, const Stages& stages,
                std::initializer_list<std::uint32_t*> taken) const {
    if (at_ + stages.fewest * std::size_t{plan.stage_bytes} > bytes) return false;
    plan.stages = static_cast<std::uint32_t>(std::min<std::size_t>(stages.most, (bytes - at_) / plan.stage_bytes));
    plan.stages -= plan.stages % stages.teams;
    const std::uint32_t ring = plan.stages * plan.stage_bytes;
    for (std::uint32_t* const offset : taken) *offset += ring;
    plan.shared_bytes = static_cast<std::uint32_t>(at_) + ring;
    return true;
  }

 private:
  std::size_t at_;
};

}  // namespace mlx_native::cuda
