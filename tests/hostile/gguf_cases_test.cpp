// Malformed GGUF files: each ends in an error value that names the place.
#include <gtest/gtest.h>

#include <vector>

#include "files/gguf_state.h"
#include "hostile/expect_cases.h"
#include "hostile/gguf_header_cases.h"
#include "hostile/gguf_metadata_cases.h"
#include "hostile/gguf_tensor_cases.h"

namespace mlx_native::hostile {
namespace {

std::vector<Case> all_cases() {
  std::vector<Case> cases = gguf_header_cases();
  for (auto* more : {&gguf_metadata_cases, &gguf_tensor_cases})
    for (auto& one : more()) cases.push_back(std::move(one));
  return cases;
}

TEST(HostileGguf, EveryCaseEndsAsItMust) { expect_cases(all_cases(), detail::GgufAccess::from_memory, 600, 150); }

}  // namespace
}  // namespace mlx_native::hostile
