#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "hostile/bytes.h"
#include "hostile/memory_limit.h"
#include "hostile/touch.h"

namespace mlx_native::hostile {

/// Each case opens, and whatever is in it can be used, or ends in the error that it names, in little memory and with a
/// message of printable characters.
template <class Open>
void expect_cases(const std::vector<Case>& cases, const Open& open, std::size_t most_characters,
                  std::size_t least_malformed) {
  std::set<std::string> names;
  std::size_t malformed = 0;
  for (const auto& [name, bytes, kind, text] : cases) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(names.insert(name).second) << "two cases of that name";
    const MemoryLimit limit(bytes.size() + (std::size_t{16} << 20));
    const auto file = open(bytes);
    ASSERT_EQ(!file.has_value(), kind.has_value()) << (file ? "it opened" : file.error().message);
    if (file) {
      EXPECT_GE(touch(*file), 0);
      continue;
    }
    ++malformed;
    const std::string& message = file.error().message;
    EXPECT_EQ(file.error().kind, *kind) << message;
    EXPECT_THAT(message, ::testing::HasSubstr(text));
    EXPECT_LT(message.size(), most_characters);
    for (const char c : message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << "control characters in a message";
  }
  EXPECT_GE(malformed, least_malformed);
}

}  // namespace mlx_native::hostile
