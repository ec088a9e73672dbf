#include "runtime/command.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "mlx_native/device.h"
#include "runtime/access.h"

namespace mlx_native::detail {
namespace {

using Uses = std::vector<Use>;

bool conflict(const Use& a, const Use& b) {
  return a.storage == b.storage && (a.write || b.write) && a.begin < b.end && b.begin < a.end;
}

// Sequences with few and with many uses between two barriers, that touch, overlap and repeat.
TEST(HazardTracker, FindsWhatComparingAllPairsFinds) {
  const auto device = MlxDevice::create(Backend::Cpu).value();
  std::vector<std::shared_ptr<Storage>> storages;
  for (int i = 0; i < 3; ++i) storages.push_back(BufferAccess::storage(device.alloc_buffer(1, DType::U8, {1}).value()));
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return random() % n; };
  std::size_t barriers = 0, longest = 0;
  for (const std::size_t space : {20u, 1000u, 100000u})
    for (const std::size_t one_write_in : {2u, 20u, 1000u}) {
      HazardTracker tracker;
      Uses open;
      for (int command = 0; command < 1500; ++command) {
        Uses uses(below(5));
        for (Use& use : uses) {
          const std::size_t begin = below(space);
          use = {storages[below(3)], begin, begin + 1 + below(8), below(one_write_in) == 0};
        }
        const bool expected = std::ranges::any_of(open, [&](const Use& before) {
          return std::ranges::any_of(uses, [&](const Use& now) { return conflict(before, now); });
        });
        ASSERT_EQ(tracker.conflicts(uses), expected) << space << ", " << one_write_in << ", command " << command;
        ASSERT_EQ(tracker.add(uses), expected);
        if (expected) open.clear();
        barriers += expected;
        open.insert(open.end(), uses.begin(), uses.end());
        longest = std::max(longest, open.size());
      }
    }
  EXPECT_GT(barriers, 1000u);
  EXPECT_GT(longest, 1000u);
}

}  // namespace
}  // namespace mlx_native::detail
