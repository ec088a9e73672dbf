// Devices, buffers, encoders and graphs: what holds on every backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <cmath>
#include <numeric>
#include <thread>

#include "support/backends.h"

namespace mlx_native {
namespace {

using testing::Each;
using testing::HasSubstr;

class Runtime : public testing::TestWithParam<Backend> {
 protected:
  MlxDevice device = MlxDevice::create(GetParam()).value();
  KernelRegistry registry;

  MlxBuffer floats(std::size_t n, float value = 0) const {
    MlxBuffer buffer = device.alloc_buffer(n * sizeof(float), DType::F32, {n}).value();
    std::ranges::fill(buffer.as_mut_slice<float>().value(), value);
    return buffer;
  }
  Result<void> norm(CommandEncoder& encoder, const MlxBuffer& in, const MlxBuffer& weight, MlxBuffer& out) const {
    const auto dim = static_cast<std::uint32_t>(weight.element_count());
    return rms_norm(encoder, registry, device, in, weight, out, {.rows = 1, .dim = dim, .eps = 0});
  }
};
MLXN_ON_BACKENDS(Runtime);

TEST_P(Runtime, FreshBuffersAreZero) {
  const MlxBuffer buffer = device.alloc_buffer(4000, DType::F32, {1000}).value();
  EXPECT_THAT(buffer.as_slice<float>().value(), Each(0.0f));
}

TEST_P(Runtime, AllocationIsChecked) {
  EXPECT_EQ(device.alloc_buffer(0, DType::F32, {1}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(device.alloc_buffer(4, DType::F32, {0}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(device.alloc_buffer(15, DType::F32, {2, 2}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(device.alloc_buffer(16, DType::F32, {std::size_t{1} << 32, std::size_t{1} << 32}).error().kind,
            ErrorKind::InvalidArgument);
  EXPECT_THAT(device.alloc_buffer(15, DType::F32, {2, 2}).error().message,
              HasSubstr("15 bytes given, 4 elements of f32 need 16"));
  EXPECT_THAT(floats(4).reinterpret(DType::F64, {3}).error().message,
              HasSubstr("16 bytes given, 3 elements of f64 need 24"));
  EXPECT_THAT(floats(4).reinterpret(DType::F64, {0}).error().message, HasSubstr("at least one"));
  EXPECT_THAT(floats(4).reinterpret(static_cast<DType>(99), {1}).error().message, HasSubstr("dtype is 99"));
  EXPECT_EQ(device.alloc_buffer(std::size_t{1} << 60, DType::U8, {1}).error().kind, ErrorKind::BufferAllocationError);
}

TEST_P(Runtime, ViewsRespectOffsetAndDtype) {
  MlxBuffer buffer = floats(8);
  const std::span<float> all = buffer.as_mut_slice<float>().value();
  std::iota(all.begin(), all.end(), 0.0f);
  MlxBuffer view = buffer.slice_view(8, 3).value();
  EXPECT_THAT(view.as_slice<float>().value(), testing::ElementsAre(2, 3, 4));
  EXPECT_EQ(view.byte_len(), 12u);
  MlxBuffer inner = view.slice_view(4, 2).value();
  inner.as_mut_slice<float>().value()[0] = 42;
  EXPECT_EQ(buffer.as_slice<float>().value()[3], 42);
  EXPECT_EQ(view.slice_view(0, 4).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(view.slice_view(16, 1).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(view.slice_view(2, 1).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(view.slice_view(0, 0).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(view.slice_view(~std::size_t{0} - 3, 1).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(buffer.as_slice<std::uint32_t>().error().kind, ErrorKind::InvalidArgument);
  EXPECT_TRUE(buffer.as_slice<std::byte>().has_value());
}

TEST_P(Runtime, ImportedMemoryIsReadOnly) {
  auto owner = std::make_shared<std::vector<float>>(4, 2.0f);
  MlxBuffer buffer = device.import_host(std::as_bytes(std::span(*owner)), owner, DType::F32, {4}).value();
  EXPECT_FALSE(buffer.is_writable());
  EXPECT_THAT(buffer.as_slice<float>().value(), Each(2.0f));
  EXPECT_EQ(buffer.as_mut_slice<float>().error().kind, ErrorKind::InvalidArgument);
  CommandEncoder encoder = device.command_encoder().value();
  const MlxBuffer weight = floats(4, 1);
  EXPECT_EQ(norm(encoder, weight, weight, buffer).error().kind, ErrorKind::InvalidArgument);
  MlxBuffer out = floats(4, NAN);
  ASSERT_TRUE(norm(encoder, buffer, weight, out).has_value());
  buffer = weight;
  owner.reset();
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_THAT(out.as_slice<float>().value(), Each(1.0f));
}

TEST_P(Runtime, ImportedMemoryThatIsNotAlignedIsRefusedWhereKernelsReadIt) {
  if (GetParam() != Backend::Cpu) GTEST_SKIP() << "kernels read a copy";
  alignas(16) static const std::array<std::byte, 64 * sizeof(float) + 1> bytes{};
  const MlxBuffer odd = device.import_host(std::span(bytes).subspan(1), nullptr, DType::F32, {64}).value();
  EXPECT_EQ(odd.as_slice<float>().error().kind, ErrorKind::InvalidArgument);
  CommandEncoder encoder = device.command_encoder().value();
  MlxBuffer out = floats(64);
  const auto result = norm(encoder, odd, floats(64, 1), out);
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error().message, HasSubstr("not aligned to 4 bytes"));
}

TEST_P(Runtime, OrderFollowsFromReadsAndWrites) {
  const MlxBuffer a = floats(256, 3), weight = floats(256, 2);
  MlxBuffer b = floats(256, NAN), c = floats(256, NAN), d = floats(256, NAN);
  CommandEncoder encoder = device.command_encoder().value();
  ASSERT_TRUE(norm(encoder, a, weight, b).has_value());
  ASSERT_TRUE(norm(encoder, a, weight, c).has_value());
  EXPECT_EQ(encoder.barrier_count(), 0u);
  ASSERT_TRUE(norm(encoder, b, weight, d).has_value());
  EXPECT_EQ(encoder.barrier_count(), 1u);
  ASSERT_TRUE(norm(encoder, c, weight, b).has_value());
  EXPECT_EQ(encoder.barrier_count(), 2u) << "writes what an earlier command reads";
  EXPECT_EQ(encoder.dispatch_count(), 4u);
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_THAT(d.as_slice<float>().value(), Each(2.0f));
}

TEST_P(Runtime, HalvesOfOneBufferDoNotConflict) {
  const MlxBuffer weight = floats(64, 1);
  const MlxBuffer both = floats(128, 5);
  const MlxBuffer low = both.slice_view(0, 64).value();
  MlxBuffer high = both.slice_view(256, 64).value();
  CommandEncoder encoder = device.command_encoder().value();
  ASSERT_TRUE(norm(encoder, low, weight, high).has_value());
  MlxBuffer other = floats(64);
  ASSERT_TRUE(norm(encoder, low, weight, other).has_value());
  EXPECT_EQ(encoder.barrier_count(), 0u);
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_THAT(high.as_slice<float>().value(), Each(1.0f));
  EXPECT_THAT(low.as_slice<float>().value(), Each(5.0f));
}

TEST_P(Runtime, EmptyCommitIsLegal) {
  CommandEncoder encoder = device.command_encoder().value();
  EXPECT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_TRUE(encoder.wait().has_value());
}

TEST_P(Runtime, GraphReplaysOnNewContents) {
  MlxBuffer in = floats(64, 1), out = floats(64, NAN);
  const MlxBuffer weight = floats(64, 1);
  in.as_mut_slice<float>().value()[0] = 3;
  GraphSession session = GraphExecutor(device).begin().value();
  ASSERT_TRUE(norm(session.encoder(), in, weight, out).has_value());
  ComputeGraph graph = session.record().value();
  EXPECT_EQ(norm(session.encoder(), in, weight, out).error().kind, ErrorKind::InvalidArgument)
      << "the session is spent";
  EXPECT_EQ(graph.dispatch_count(), 1u);
  ASSERT_TRUE(graph.replay().has_value());
  EXPECT_NEAR(out.as_slice<float>().value()[0], 3 / std::sqrt(72.0 / 64), 1e-6);
  std::ranges::fill(in.as_mut_slice<float>().value(), -7.0f);
  ASSERT_TRUE(graph.replay().has_value());
  EXPECT_THAT(out.as_slice<float>().value(), Each(-1.0f));
}

TEST_P(Runtime, BuffersOutliveTheirHandles) {
  CommandEncoder encoder = device.command_encoder().value();
  MlxBuffer out = floats(64, NAN);
  ASSERT_TRUE(norm(encoder, floats(64, 4), floats(64, 1), out).has_value());
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_THAT(out.as_slice<float>().value(), Each(1.0f));
}

TEST_P(Runtime, OtherDevicesBuffersAreRefused) {
  const MlxDevice other = MlxDevice::create(GetParam()).value();
  const MlxBuffer foreign = other.alloc_buffer(256, DType::F32, {64}).value();
  MlxBuffer out = floats(64);
  CommandEncoder encoder = device.command_encoder().value();
  const auto result = norm(encoder, foreign, floats(64), out);
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error().message, HasSubstr("another device"));
}

TEST_P(Runtime, WhatWasMovedFromIsRefused) {
  MlxBuffer buffer = floats(64, 1), out = floats(64, NAN);
  const MlxBuffer taken = std::move(buffer);
  EXPECT_FALSE(buffer.is_writable());
  EXPECT_EQ(buffer.as_slice<float>().error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(buffer.as_mut_slice<float>().error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(buffer.slice_view(0, 1).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(buffer.reinterpret(DType::U32, {1}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(MlxBufferPool(device).release(buffer).error().kind, ErrorKind::InvalidArgument);
  CommandEncoder encoder = device.command_encoder().value();
  EXPECT_THAT(norm(encoder, buffer, taken, out).error().message, HasSubstr("moved from"));
  EXPECT_THAT(norm(encoder, taken, taken, buffer).error().message, HasSubstr("moved from"));
  EXPECT_THAT(encoder.device_address(buffer).error().message, HasSubstr("moved from"));
  ASSERT_TRUE(registry.register_kernel({"mine", GetParam(), [](const auto&, auto) {}}).has_value());
  EXPECT_THAT(encoder.dispatch(registry, "mine", {}, std::array{buffer}, {}).error().message, HasSubstr("moved from"));

  CommandEncoder other = std::move(encoder);
  EXPECT_THAT(norm(encoder, taken, taken, out).error().message, HasSubstr("moved from"));
  EXPECT_THAT(encoder.dispatch(registry, "mine", {}, {}, {}).error().message, HasSubstr("moved from"));
  EXPECT_EQ(encoder.device_address(taken).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(encoder.commit().error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(encoder.wait().error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(encoder.dispatch_count() + encoder.barrier_count() + encoder.dispatched_kernels().size(), 0u);
  encoder = std::move(other);
  EXPECT_TRUE(norm(encoder, taken, taken, out).has_value());
  EXPECT_TRUE(encoder.commit_and_wait().has_value());

  GraphSession session = GraphExecutor(device).begin().value();
  const GraphSession spent = std::move(session);
  EXPECT_EQ(session.record().error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(session.finish().error().kind, ErrorKind::InvalidArgument);
}

TEST_P(Runtime, HandlesStayWholeWhereTheyAreMovedFrom) {
  const MlxDevice moved_device = std::move(device);
  const KernelRegistry moved_registry = std::move(registry);
  const MlxBuffer weight = floats(64, 1);
  MlxBuffer out = floats(64, NAN);
  CommandEncoder encoder = device.command_encoder().value();
  ASSERT_TRUE(norm(encoder, weight, weight, out).has_value());
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_THAT(out.as_slice<float>().value(), Each(1.0f));
}

TEST_P(Runtime, BuiltInKernelsTakeNoBareBytes) {
  CommandEncoder encoder = device.command_encoder().value();
  for (const std::string& name : registry.kernel_names(GetParam())) {
    const auto result = encoder.dispatch(registry, name, {}, {}, {});
    ASSERT_FALSE(result.has_value()) << name;
    EXPECT_THAT(result.error().message, HasSubstr(name));
  }
  EXPECT_EQ(encoder.dispatch_count(), 0u);
}

TEST_P(Runtime, NoMemoryIsImportedFromNowhere) {
  const std::span<const std::byte> nowhere(static_cast<const std::byte*>(nullptr), 16);
  EXPECT_EQ(device.import_host(nowhere, nullptr, DType::F32, {4}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(device.import_host({}, nullptr, DType::F32, {4}).error().kind, ErrorKind::InvalidArgument);
}

TEST_P(Runtime, KernelsAreCachedForcedAndNamed) {
  EXPECT_EQ(registry.cached_count(), 0u);
  CommandEncoder encoder = device.command_encoder().value();
  MlxBuffer out = floats(64);
  ASSERT_TRUE(norm(encoder, floats(64, 1), floats(64, 1), out).has_value());
  const std::string name(encoder.dispatched_kernels().at(0));
  EXPECT_TRUE(registry.is_cached(name));
  EXPECT_EQ(registry.cached_count(), 1u);
  EXPECT_THAT(registry.kernel_names(GetParam()), testing::Contains(name));
  EXPECT_TRUE(registry.force(name).has_value());
  EXPECT_EQ(registry.force("no such kernel").error().kind, ErrorKind::KernelNotFound);
  EXPECT_EQ(registry.get("no such kernel", device).error().kind, ErrorKind::KernelNotFound);
}

TEST_P(Runtime, TwoEncodersOnTwoThreads) {
  const auto work = [&](float value) {
    for (int i = 0; i < 20; ++i) {
      MlxBuffer out = floats(512, NAN);
      CommandEncoder encoder = device.command_encoder().value();
      ASSERT_TRUE(norm(encoder, floats(512, value), floats(512, value), out).has_value());
      ASSERT_TRUE(encoder.commit_and_wait().has_value());
      ASSERT_THAT(out.as_slice<float>().value(), Each(value));
    }
  };
  std::thread first(work, 2.0f), second(work, 3.0f);
  first.join();
  second.join();
}

TEST(Backends, TheCpuIsAlwaysThere) {
  EXPECT_THAT(available_backends(), testing::Contains(Backend::Cpu));
  EXPECT_EQ(MlxDevice::create(Backend::Metal).error().kind, ErrorKind::DeviceNotFound);
  EXPECT_EQ(MlxDevice::create(Backend::Cpu, {.threads = 100000}).error().kind, ErrorKind::InvalidArgument);
  if (available_backends().front() == Backend::Cpu) {
    EXPECT_EQ(MlxDevice::create({.threads = 3}).value().parallelism(), 3u);
    EXPECT_EQ(MlxDevice::create({.threads = 100000}).error().kind, ErrorKind::InvalidArgument);
  }
}

}  // namespace
}  // namespace mlx_native
