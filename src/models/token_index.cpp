#include "models/token_index.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace mlx_native {
namespace {

std::uint64_t prefix_of(std::string_view bytes) {
  std::uint64_t prefix = 0;
  for (std::size_t i = 0; i < 8; ++i)
    prefix = prefix << 8 | (i < bytes.size() ? static_cast<std::uint8_t>(bytes[i]) : 0u);
  return prefix;
}

}  // namespace

TokenIndex::TokenIndex(std::span<const std::string> bytes_of, std::span<const std::uint32_t> ids)
    : bytes_of_(bytes_of) {
  for (const std::uint32_t id : ids)
    if (!bytes_of[id].empty()) entries_.push_back({prefix_of(bytes_of[id]), id});
  std::ranges::sort(entries_, {}, [&](const Entry& e) { return std::tuple(e.prefix, bytes(e), e.id); });
  for (const Entry& entry : entries_) ++first_of_byte_[(entry.prefix >> 56) + 1];
  for (std::size_t i = 1; i < first_of_byte_.size(); ++i) first_of_byte_[i] += first_of_byte_[i - 1];
}

std::optional<std::array<std::uint32_t, 2>> TokenIndex::repeated() const {
  const auto twin = std::ranges::adjacent_find(entries_, {}, [&](const Entry& e) { return bytes(e); });
  if (twin == entries_.end()) return std::nullopt;
  return std::array{twin->id, std::next(twin)->id};
}

std::optional<std::uint32_t> TokenIndex::find(std::string_view text) const {
  const auto key = [&](const Entry& e) { return std::pair(e.prefix, bytes(e)); };
  const auto found = std::ranges::lower_bound(entries_, std::pair(prefix_of(text), text), {}, key);
  if (found == entries_.end() || bytes(*found) != text) return std::nullopt;
  return found->id;
}

std::optional<TokenIndex::Match> TokenIndex::longest_prefix(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  const auto first_byte = static_cast<std::uint8_t>(text[0]);
  std::span<const Entry> matching(entries_.data() + first_of_byte_[first_byte],
                                  entries_.data() + first_of_byte_[first_byte + 1u]);
  std::optional<Match> longest;
  // All of `matching` start with text[0, length); the shortest comes first.
  for (std::size_t length = 1; !matching.empty(); ++length) {
    if (bytes(matching.front()).size() == length) {
      longest = Match{matching.front().id, length};
      matching = matching.subspan(1);
    }
    if (length == text.size()) break;
    const auto next =
        std::ranges::equal_range(matching, static_cast<std::uint8_t>(text[length]), {},
                                 [&](const Entry& e) { return static_cast<std::uint8_t>(bytes(e)[length]); });
    matching = {next.begin(), next.end()};
  }
  return longest;
}

}  // namespace mlx_native
