#include "models/bpe.h"

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

namespace mlx_native {
namespace {

/// No neighbour; as a token: merged into the left neighbour.
constexpr std::uint32_t kNone = UINT32_MAX;

constexpr auto key = [](const auto& candidate) { return std::pair(candidate.rank, candidate.left); };

}  // namespace

MergeTable::MergeTable(std::vector<Merge> merges, std::uint32_t n_tokens)
    : merges_(std::move(merges)), first_of_left_(std::size_t{n_tokens} + 1) {
  std::ranges::sort(merges_, {}, [](const Merge& m) { return std::tuple(m.left, m.right, m.rank); });
  const auto same_pair = [](const Merge& a, const Merge& b) { return a.left == b.left && a.right == b.right; };
  merges_.erase(std::unique(merges_.begin(), merges_.end(), same_pair), merges_.end());
  for (const Merge& merge : merges_) ++first_of_left_[merge.left + 1];
  for (std::size_t i = 1; i < first_of_left_.size(); ++i) first_of_left_[i] += first_of_left_[i - 1];
}

const Merge* MergeTable::find(std::uint32_t left, std::uint32_t right) const {
  const Merge* first = merges_.data() + first_of_left_[left];
  const Merge* last = merges_.data() + first_of_left_[left + 1];
  const Merge* found = std::ranges::lower_bound(first, last, right, {}, &Merge::right);
  return found != last && found->right == right ? found : nullptr;
}

void WordMerger::consider(std::uint32_t left) {
  if (left == kNone || symbols_[left].next == kNone) return;
  const Merge* merge = table_.find(symbols_[left].token, symbols_[symbols_[left].next].token);
  if (!merge) return;
  heap_.push_back({merge->rank, left, merge});
  std::ranges::push_heap(heap_, std::greater{}, key);
}

void WordMerger::merge(const std::vector<std::uint32_t>& word, std::vector<std::uint32_t>& out) {
  const auto n = static_cast<std::uint32_t>(word.size());
  symbols_.clear();
  heap_.clear();
  for (std::uint32_t i = 0; i < n; ++i) symbols_.push_back({word[i], i ? i - 1 : kNone, i + 1 < n ? i + 1 : kNone});
  for (std::uint32_t i = 0; i + 1 < n; ++i) consider(i);

  while (!heap_.empty()) {
    std::ranges::pop_heap(heap_, std::greater{}, key);
    const Candidate best = heap_.back();
    heap_.pop_back();
    Symbol& left = symbols_[best.left];
    // An earlier merge may have taken one of the two.
    if (left.token != best.merge->left || left.next == kNone || symbols_[left.next].token != best.merge->right)
      continue;
    Symbol& right = symbols_[left.next];
    left.token = best.merge->merged;
    left.next = right.next;
    right.token = kNone;
    if (left.next != kNone) symbols_[left.next].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  for (std::uint32_t i = 0; i < n; i = symbols_[i].next) out.push_back(symbols_[i].token);
}

}  // namespace mlx_native
