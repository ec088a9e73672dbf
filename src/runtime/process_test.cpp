// What ends or copies the process that computes.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>

namespace mlx_native {
namespace {

constexpr RmsNormParams kNorm{.rows = 1, .dim = 64, .eps = 0};

MlxBuffer ones(const MlxDevice& device) {
  MlxBuffer buffer = device.alloc_buffer(64 * sizeof(float), DType::F32, {64}).value();
  std::ranges::fill(buffer.as_mut_slice<float>().value(), 1.0f);
  return buffer;
}

/// 0 where the norm of ones is one.
int norm_of_ones(const MlxDevice& device) {
  const MlxBuffer x = ones(device);
  MlxBuffer y = device.alloc_buffer(64 * sizeof(float), DType::F32, {64}).value();
  CommandEncoder encoder = device.command_encoder().value();
  if (!rms_norm(encoder, {}, device, x, x, y, kNorm)) return 1;
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

TEST(Process, AChildOfForkIsToldThatItHasNoThreads) {
  const MlxDevice device = MlxDevice::create(Backend::Cpu, {.threads = 2}).value();
  ASSERT_EQ(norm_of_ones(device), 0);
  GraphSession session = GraphExecutor(device).begin().value();
  MlxBuffer out = ones(device);
  ASSERT_TRUE(rms_norm(session.encoder(), {}, device, ones(device), ones(device), out, kNorm).has_value());
  ComputeGraph graph = session.record().value();

  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    const auto refused = [](const Result<void>& result) {
      return !result && result.error().kind == ErrorKind::InvalidArgument &&
             result.error().message.find("fork") != std::string::npos;
    };
    CommandEncoder encoder = device.command_encoder().value();
    MlxBuffer y = ones(device);
    const bool recorded = rms_norm(encoder, {}, device, y, ones(device), y, kNorm).has_value();
    std::_Exit(recorded && refused(encoder.commit()) && refused(graph.replay()) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(norm_of_ones(device), 0);
}

}  // namespace
}  // namespace mlx_native
