// From bytes to the token that has them. Sorted rather than hashed: a file cannot choose keys that make it slow.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mlx_native {

class TokenIndex {
 public:
  /// Of the tokens `ids`, whose bytes are bytes_of[id]; tokens without bytes are left out. `bytes_of` outlives the
  /// index.
  TokenIndex(std::span<const std::string> bytes_of, std::span<const std::uint32_t> ids);

  /// Two tokens of the same bytes, if there are any.
  std::optional<std::array<std::uint32_t, 2>> repeated() const;

  std::optional<std::uint32_t> find(std::string_view bytes) const;

  struct Match {
    std::uint32_t id;
    std::size_t length;
  };
  /// The longest token that `text` starts with.
  std::optional<Match> longest_prefix(std::string_view text) const;

 private:
  struct Entry {
    std::uint64_t prefix;  ///< first eight bytes, big endian: decides nearly all comparisons
    std::uint32_t id;
  };
  std::string_view bytes(const Entry& entry) const { return bytes_of_[entry.id]; }

  std::span<const std::string> bytes_of_;
  std::vector<Entry> entries_;                      ///< ascending by bytes
  std::array<std::uint32_t, 257> first_of_byte_{};  ///< entries_ that start with byte b: [b], to [b + 1]
};

}  // namespace mlx_native
