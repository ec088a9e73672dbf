#include "mlx_native/kernel_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "mlx_native/command_encoder.h"

namespace mlx_native {
namespace {

using testing::Each;

TEST(UserKernels, RunOnEveryWorkerWithTheirArguments) {
  const MlxDevice device = MlxDevice::create(Backend::Cpu, {.threads = 3}).value();
  KernelRegistry registry;
  struct Args {
    float* data;
    float factor;
  };
  const auto run = [](const KernelContext& context, std::span<const std::byte> bytes) {
    Args args;
    std::memcpy(&args, bytes.data(), sizeof args);
    for (std::uint32_t i = context.index; i < 100; i += context.count) args.data[i] *= args.factor;
  };
  EXPECT_EQ(registry.register_kernel({"", Backend::Cpu, run}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(registry.register_kernel({"scale", Backend::Cpu, {}}).error().kind, ErrorKind::InvalidArgument);
  ASSERT_TRUE(registry.register_kernel({"scale", Backend::Cpu, run}).has_value());
  MlxBuffer data = device.alloc_buffer(400, DType::F32, {100}).value();
  std::ranges::fill(data.as_mut_slice<float>().value(), 2.0f);
  CommandEncoder encoder = device.command_encoder().value();
  const Args args{static_cast<float*>(encoder.device_address(data).value()), 1.5f};
  const std::array writes{data};
  ASSERT_TRUE(encoder.dispatch(registry, "scale", std::as_bytes(std::span(&args, 1)), {}, writes).has_value());
  ASSERT_TRUE(encoder.dispatch(registry, "scale", std::as_bytes(std::span(&args, 1)), {}, writes).has_value());
  EXPECT_EQ(encoder.barrier_count(), 1u);
  const std::vector<std::byte> huge(257);
  EXPECT_EQ(encoder.dispatch(registry, "scale", huge, {}, writes).error().kind, ErrorKind::InvalidArgument);
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_THAT(data.as_slice<float>().value(), Each(4.5f));
}

TEST(UserKernels, WhatReplacesOneIsPreparedAnew) {
  const MlxDevice device = MlxDevice::create(Backend::Cpu, {.threads = 1}).value();
  KernelRegistry registry;
  const auto kept = std::make_shared<int>(0);
  ASSERT_TRUE(registry.register_kernel({"mine", Backend::Cpu, [kept](const auto&, auto) {}}).has_value());
  ASSERT_TRUE(registry.get("mine", device).has_value());
  EXPECT_TRUE(registry.is_cached("mine"));
  ASSERT_TRUE(registry.register_kernel({"mine", Backend::Cpu, [](const auto&, auto) {}}).has_value());
  EXPECT_EQ(kept.use_count(), 1) << "the registry lets go of what was replaced";
  EXPECT_FALSE(registry.is_cached("mine"));
  EXPECT_EQ(registry.cached_count(), 0u);
  ASSERT_TRUE(registry.get("mine", device).has_value());
  EXPECT_TRUE(registry.is_cached("mine"));
}

}  // namespace
}  // namespace mlx_native
