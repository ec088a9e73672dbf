#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mlx_native {

/// Finds the entries of a list by name. Sorted, not hashed: no file can choose names that make it slow.
template <class Entry, std::string Entry::*Name>
class NameIndex {
 public:
  NameIndex() = default;
  explicit NameIndex(std::span<const Entry> entries) : order_(entries.size()) {
    std::iota(order_.begin(), order_.end(), 0u);
    std::sort(order_.begin(), order_.end(), [&](auto a, auto b) { return entries[a].*Name < entries[b].*Name; });
  }

  /// An entry whose name another one has too, or null.
  const Entry* duplicate(std::span<const Entry> entries) const {
    const auto same = [&](auto a, auto b) { return entries[a].*Name == entries[b].*Name; };
    const auto found = std::adjacent_find(order_.begin(), order_.end(), same);
    return found == order_.end() ? nullptr : &entries[*found];
  }

  const Entry* find(std::span<const Entry> entries, std::string_view name) const {
    const auto before = [&](auto a, std::string_view b) { return entries[a].*Name < b; };
    const auto found = std::lower_bound(order_.begin(), order_.end(), name, before);
    return found != order_.end() && entries[*found].*Name == name ? &entries[*found] : nullptr;
  }

 private:
  std::vector<std::uint32_t> order_;
};

}  // namespace mlx_native
