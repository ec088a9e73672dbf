// Malformed GGUF files: each ends in an error value that names the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "files/gguf_state.h"
#include "hostile/gguf_header_cases.h"
#include "hostile/gguf_metadata_cases.h"
#include "hostile/gguf_tensor_cases.h"
#include "hostile/memory_limit.h"
#include "hostile/touch.h"

namespace mlx_native::hostile {
namespace {

using ::testing::HasSubstr;

std::vector<Case> all_cases() {
  std::vector<Case> cases = gguf_header_cases();
  for (auto* more : {&gguf_metadata_cases, &gguf_tensor_cases})
    for (auto& one : more()) cases.push_back(std::move(one));
  return cases;
}

TEST(HostileGguf, EveryCaseEndsAsItMust) {
  std::set<std::string> names;
  std::size_t malformed = 0;
  for (const auto& [name, bytes, kind, text] : all_cases()) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(names.insert(name).second) << "two cases of that name";
    const MemoryLimit limit(bytes.size() + (std::size_t{16} << 20));
    const auto file = detail::GgufAccess::from_memory(bytes);
    ASSERT_EQ(!file.has_value(), kind.has_value()) << (file ? "it opened" : file.error().message);
    if (file) {
      EXPECT_GE(touch(*file), 0);
      continue;
    }
    ++malformed;
    EXPECT_EQ(file.error().kind, *kind) << file.error().message;
    EXPECT_THAT(file.error().message, HasSubstr(text));
    EXPECT_LT(file.error().message.size(), 600u);
    for (const char c : file.error().message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << "control characters in a message";
  }
  EXPECT_GE(malformed, 150u);
}

}  // namespace
}  // namespace mlx_native::hostile
