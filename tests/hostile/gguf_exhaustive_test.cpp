// Every truncation and every changed byte of a small GGUF file, and files that are large where a reader may be slow.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

#include "files/gguf_state.h"
#include "hostile/bytes.h"
#include "hostile/memory_limit.h"
#include "hostile/touch.h"
#include "support/lane.h"

namespace mlx_native::hostile {
namespace {

using detail::GgufAccess;
using ::testing::HasSubstr;

TEST(HostileGguf, EveryTruncationIsAnError) {
  // Without padding after the last tensor, so that every byte is needed.
  const auto whole = small_gguf().build();
  ASSERT_TRUE(GgufAccess::from_memory(whole).has_value());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto file = GgufAccess::from_memory({whole.begin(), whole.begin() + std::ptrdiff_t(length)});
    ASSERT_FALSE(file.has_value()) << "cut at " << length;
    EXPECT_EQ(file.error().kind, ErrorKind::GgufParseError);
  }
}

TEST(HostileGguf, EveryChangedByteIsAnErrorOrAFile) {
  const auto whole = small_gguf().build();
  std::size_t opened = 0, refused = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int change : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, 0x7f}) {
      auto bytes = whole;
      bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ change);
      const auto file = GgufAccess::from_memory(bytes);
      (file ? opened : refused) += 1;
      if (file) {
        EXPECT_GE(touch(*file), 0) << at;
      } else {
        EXPECT_EQ(file.error().kind, ErrorKind::GgufParseError) << file.error().message;
      }
    }
  }
  EXPECT_GT(opened, 1000u);
  EXPECT_GT(refused, 1000u);
}

TEST(HostileGguf, EveryFieldOf32And64BitsAtItsExtremes) {
  const auto whole = small_gguf().build();
  for (std::size_t at = 0; at + 8 <= whole.size(); ++at) {
    for (const std::uint64_t value :
         {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 1,
          std::uint64_t{1} << 32, (std::uint64_t{1} << 31) - 1}) {
      auto bytes = whole;
      std::memcpy(bytes.data() + at, &value, 8);
      const auto file = GgufAccess::from_memory(bytes);
      if (file) {
        EXPECT_GE(touch(*file), 0) << at;
      }
    }
  }
}

/// Of this thread's processor time, which other programs' load hardly changes.
double seconds_to_open(const std::vector<std::uint8_t>& bytes, bool opens) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  const auto file = GgufAccess::from_memory(bytes);
  const double time = now() - start;
  EXPECT_EQ(file.has_value(), opens) << (file ? "opened" : file.error().message);
  return time;
}

std::vector<std::uint8_t> tiny_keys(std::size_t count, bool last_twice) {
  Gguf file;
  for (std::size_t i = 0; i < count; ++i)
    file.entry(fmt::format("{:x}", i + 1 == count && last_twice ? 0 : i), kU8, Bytes().u8(1));
  return file.build();
}

std::vector<std::uint8_t> tiny_tensors(std::size_t count) {
  Gguf file;
  file.u32("general.alignment", 1).alignment = 1;
  for (std::size_t i = 0; i < count; ++i) file.tensor(fmt::format("{:x}", i), {1}, 24, count - 1 - i);
  return file.data(count).build();
}

constexpr std::size_t kMany = test::kSlow ? 100'000 : 1'000'000;

// Ten times the keys may take ten times the time, a little more for sorting; a quadratic reader takes a hundred times.
TEST(HostileGguf, AMillionTinyKeysTakeLinearTime) {
  const double small = seconds_to_open(tiny_keys(kMany / 10, false), true);
  const double large = seconds_to_open(tiny_keys(kMany, false), true);
  EXPECT_LT(large, 40 * small + 0.1);
  seconds_to_open(tiny_keys(kMany, true), false);
}

TEST(HostileGguf, AMillionTensorsTakeLinearTime) {
  const double small = seconds_to_open(tiny_tensors(kMany / 10), true);
  const double large = seconds_to_open(tiny_tensors(kMany), true);
  EXPECT_LT(large, 40 * small + 0.1);
}

TEST(HostileGguf, LargeArraysTakeLinearTimeAndMemory) {
  Gguf file;
  file.array("numbers", kU64, 1u << 21, Bytes().fill(std::size_t{8} << 21));
  file.array("empty strings", kString, 1u << 20, Bytes().fill(std::size_t{8} << 20));
  const auto bytes = file.build();
  // A string object is four times the eight bytes that an empty one takes in the file, a growing vector doubles.
  const MemoryLimit limit(std::size_t{6} * bytes.size());
  EXPECT_LT(seconds_to_open(bytes, true), 10);
}

TEST(HostileGguf, ManyTooManyKeysOrTensors) {
  Gguf keys, tensors;
  keys.metadata_count = tensors.tensor_count = (1u << 20) + 1;
  keys.data(std::uint64_t{1} << 25);
  tensors.data(std::uint64_t{1} << 26);
  for (const auto& file : {keys, tensors}) {
    const auto opened = GgufAccess::from_memory(file.build());
    ASSERT_FALSE(opened.has_value());
    EXPECT_THAT(opened.error().message, HasSubstr("at most 1048576"));
  }
}

}  // namespace
}  // namespace mlx_native::hostile
