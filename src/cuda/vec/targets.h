// Products of the same x that one launch does together.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/vec/plan.h"

namespace mlx_native::cuda {

inline VecPlan vec_plan(const auto& a) {
  VecPlan plan{};
  plan.input = a.input, plan.row_bytes = a.row_bytes, plan.k = a.k, plan.units = a.k / 256;
  return plan;
}
/// False: no more targets or slabs can be counted.
inline bool add_target(auto& plan, const auto& a, std::uint64_t slots) {
  const std::uint32_t slot_slabs = (a.n - 1) / 16 + 1;
  const std::uint64_t slabs = plan.slabs + slots * slot_slabs;
  if (plan.targets == VecPlan::kMostTargets || slabs > UINT32_MAX / 2) return false;
  plan.target[plan.targets++] = {a.weight, a.output, a.n, slot_slabs, plan.slabs};
  plan.slabs = static_cast<std::uint32_t>(slabs);
  return true;
}
/// Adds the products that follow, as many as have the same x as `a`.
template <class Args>
void add_followers(Launch& on, VecPlan& plan, const Args& a, std::uint64_t slots, const auto& fits) {
  for (const Call& follower : on.followers) {
    const Args& b = *static_cast<const Args*>(follower.args);
    if (follower.entry != on.call.entry || b.input != a.input || b.k != a.k || b.row_bytes != a.row_bytes || !fits(b) ||
        !add_target(plan, b, slots))
      return;
    ++on.taken;
  }
}
/// Whether rows are copied as they must be: by 16 aligned bytes.
template <class U>
bool rows_align(const std::uint8_t* weight, std::uint64_t row_bytes, std::uint64_t stride) {
  return !U::kAligned || (reinterpret_cast<std::uintptr_t>(weight) | row_bytes | stride) % 16 == 0;
}

/// Whether a command before, of those that are launched together, writes the weights of a product.
bool has_new_weights(const Launch& on, const auto& plan) {
  return on.is_new && std::any_of(plan.target, plan.target + plan.targets,
                                  [&](const VecPlan::Target& target) { return on.is_new(target.weight); });
}

/// Shared memory of one group of `at_once` on a multiprocessor.
inline std::size_t share_of(const Machine& machine, std::size_t at_once) {
  constexpr std::size_t kReserved = 1024;  // of a group's, lost
  return (machine.shared_bytes + kReserved) / at_once - kReserved;
}

}  // namespace mlx_native::cuda
