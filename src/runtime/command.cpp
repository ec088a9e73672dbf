#include "runtime/command.h"

#include <algorithm>
#include <iterator>

namespace mlx_native::detail {

bool ByteSet::overlaps(const Use& use) const {
  const auto behind = ends_.lower_bound({use.storage, use.end});
  if (behind == ends_.begin()) return false;
  const auto& [start, end] = *std::prev(behind);
  return start.first == use.storage && use.begin < end;
}

void ByteSet::insert(const Use& use) {
  std::size_t begin = use.begin, end = use.end;
  auto next = ends_.upper_bound({use.storage, begin});
  if (next != ends_.begin())
    if (const auto before = std::prev(next); before->first.first == use.storage && before->second >= begin) {
      begin = before->first.second;
      next = before;
    }
  for (; next != ends_.end() && next->first.first == use.storage && next->first.second <= end; next = ends_.erase(next))
    end = std::max(end, next->second);
  ends_.emplace_hint(next, std::pair(use.storage, begin), end);
}

bool HazardTracker::conflicts(const std::vector<Use>& uses) const {
  const auto conflict = [](const Use& a, const Use& b) {
    return a.storage == b.storage && (a.write || b.write) && a.begin < b.end && b.begin < a.end;
  };
  return std::ranges::any_of(uses, [&](const Use& now) {
    return std::ranges::any_of(recent_, [&](const Use& before) { return conflict(before, now); }) ||
           written_.overlaps(now) || (now.write && read_.overlaps(now));
  });
}

bool HazardTracker::add(const std::vector<Use>& uses) {
  const bool barrier = conflicts(uses);
  if (barrier) {
    recent_.clear();
    read_.clear();
    written_.clear();
  }
  constexpr std::size_t kFew = 64;
  if (recent_.size() >= kFew) {
    for (const Use& use : recent_) (use.write ? written_ : read_).insert(use);
    recent_.clear();
  }
  recent_.insert(recent_.end(), uses.begin(), uses.end());
  return barrier;
}

}  // namespace mlx_native::detail
