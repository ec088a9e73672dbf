// What ends or copies the process that computes.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

namespace mlx_native {
namespace {

/// 0 where a norm of ones is one.
int norm_of_ones(const MlxDevice& device) {
  MlxBuffer x = device.alloc_buffer(64 * sizeof(float), DType::F32, {64}).value();
  MlxBuffer y = device.alloc_buffer(64 * sizeof(float), DType::F32, {64}).value();
  std::ranges::fill(x.as_mut_slice<float>().value(), 1.0f);
  CommandEncoder encoder = device.command_encoder().value();
  if (!rms_norm(encoder, {}, device, x, x, y, {.rows = 1, .dim = 64, .eps = 0})) return 1;
  if (!encoder.commit_and_wait()) return 2;
  return y.as_slice<float>().value()[63] == 1.0f ? 0 : 3;
}

/// Made before the library's own static objects, and destroyed after them.
struct AtTheEnd {
  std::function<void()> run;
  ~AtTheEnd() {
    if (run) run();
  }
} at_the_end;

TEST(ProcessDeathTest, ComputesUntilItsEnd) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto ends = [] {
    ::alarm(20);  // not to wait for ever
    if (norm_of_ones(MlxDevice::create(Backend::Cpu).value()) != 0) std::_Exit(9);
    at_the_end.run = [] {
      if (KernelRegistry().kernel_names(Backend::Cpu).empty()) std::_Exit(4);
      std::_Exit(norm_of_ones(MlxDevice::create(Backend::Cpu).value()));
    };
    std::exit(10);
  };
  EXPECT_EXIT(ends(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace mlx_native
