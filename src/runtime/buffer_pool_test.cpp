#include "mlx_native/buffer_pool.h"

#include <gtest/gtest.h>

namespace mlx_native {
namespace {

TEST(BufferPool, ReusesAndRefusesDoubleRelease) {
  const MlxDevice device = MlxDevice::create(Backend::Cpu).value();
  MlxBufferPool pool(device);
  const MlxBuffer a = pool.alloc(1000, DType::F32, {250}).value();
  EXPECT_EQ(a.byte_len(), 1000u);
  EXPECT_EQ(pool.in_use_count(), 1u);
  ASSERT_TRUE(pool.release(a).has_value());
  EXPECT_EQ(pool.release(a).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(pool.free_count(), 1u);
  EXPECT_EQ(pool.free_bytes(), 1024u);
  const MlxBuffer b = pool.alloc(600, DType::U8, {600}).value();
  EXPECT_EQ(pool.free_count(), 0u) << "600 bytes are of the class of 1024";
  EXPECT_EQ(pool.alloc(0, DType::U8, {0}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(pool.alloc(4, DType::F32, {2}).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(pool.free_count(), 0u) << "what is refused takes no memory";
  EXPECT_EQ(pool.alloc(100, DType::F32, {10}).value().byte_len(), 100u);
  pool.reset();
  EXPECT_EQ(pool.in_use_count(), 0u);
  pool.clear();
  EXPECT_EQ(pool.free_count(), 0u);
}

}  // namespace
}  // namespace mlx_native
