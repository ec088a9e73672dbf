#include "runtime/command.h"

#include <algorithm>

namespace mlx_native::detail {

bool HazardTracker::conflicts(const std::vector<Use>& uses) const {
  const auto conflict = [](const Use& a, const Use& b) {
    return a.storage == b.storage && (a.write || b.write) && a.begin < b.end && b.begin < a.end;
  };
  return std::ranges::any_of(open_, [&](const Use& before) {
    return std::ranges::any_of(uses, [&](const Use& now) { return conflict(before, now); });
  });
}

bool HazardTracker::add(const std::vector<Use>& uses) {
  const bool barrier = conflicts(uses);
  if (barrier) open_.clear();
  open_.insert(open_.end(), uses.begin(), uses.end());
  return barrier;
}

}  // namespace mlx_native::detail
