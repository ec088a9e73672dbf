// What holds with and without a GPU.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <algorithm>

namespace mlx_native {
namespace {

bool has_cuda() { return std::ranges::count(available_backends(), Backend::Cuda) > 0; }

TEST(CudaBackend, IsAvailableOrDeviceNotFound) {
  const auto device = MlxDevice::create(Backend::Cuda);
  EXPECT_EQ(device.has_value(), has_cuda());
  if (!device) {
    EXPECT_EQ(device.error().kind, ErrorKind::DeviceNotFound);
  }
}

TEST(CudaBackend, HasNoDeviceBeyondTheLast) {
  EXPECT_EQ(MlxDevice::create(Backend::Cuda, {.index = 1000}).error().kind, ErrorKind::DeviceNotFound);
}

}  // namespace
}  // namespace mlx_native
