#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace mlx_native {

/// Takes values from the front of a span. The first failure sticks: from then on everything reads as zero or empty, so
/// a parser may read on and ask once, as long as its loops ask too.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  bool ok() const { return failure_.empty(); }
  /// Where and why the first failure happened.
  const std::string& failure() const { return failure_; }
  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }

  /// Fails at the current position, unless it failed before.
  template <class... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    if (ok()) failure_ = fmt::format("byte {}: {}", position_, fmt::format(format, std::forward<Args>(args)...));
  }

  std::span<const std::uint8_t> take_bytes(std::uint64_t count) {
    if (ok() && count > remaining()) fail("{} bytes are needed, {} are left", count, remaining());
    if (!ok()) return {};
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  /// A little-endian number.
  template <class T>
  T take() {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T value{};
    if (const auto taken = take_bytes(sizeof(T)); !taken.empty()) std::memcpy(&value, taken.data(), sizeof(T));
    return value;
  }

  /// A 64-bit length, then that many bytes.
  std::string_view take_string(std::uint64_t max) {
    const auto length = take<std::uint64_t>();
    if (length > max) fail("a string of {} bytes, at most {} are allowed", length, max);
    const auto taken = take_bytes(length);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  /// A 64-bit count of things that take at least `min_bytes_each` bytes each in what is left.
  std::uint64_t take_count(const char* what, std::uint64_t max, std::uint64_t min_bytes_each) {
    const auto count = take<std::uint64_t>();
    if (count > max) fail("{} {}, at most {} are allowed", count, what, max);
    if (count > remaining() / min_bytes_each)
      fail("{} {} do not fit into the {} bytes that are left", count, what, remaining());
    return ok() ? count : 0;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::uint64_t position_ = 0;
  std::string failure_;
};

}  // namespace mlx_native
