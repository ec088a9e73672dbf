// Suites over the backends of this machine and build.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mlx_native/device.h"

namespace mlx_native::test {

/// Every backend but the CPU: the emulator, too.
inline std::vector<Backend> gpus() {
  std::vector<Backend> all = available_backends();
  std::erase(all, Backend::Cpu);
  return all;
}

inline std::string backend_label(const testing::TestParamInfo<Backend>& info) {
  return std::string(backend_name(info.param));
}

}  // namespace mlx_native::test

#define MLXN_ON_BACKENDS(Suite)                                                                   \
  INSTANTIATE_TEST_SUITE_P(Devices, Suite, testing::ValuesIn(::mlx_native::available_backends()), \
                           ::mlx_native::test::backend_label)

/// A machine may have none.
#define MLXN_ON_GPUS(Suite)                                                               \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Suite);                                   \
  INSTANTIATE_TEST_SUITE_P(Devices, Suite, testing::ValuesIn(::mlx_native::test::gpus()), \
                           ::mlx_native::test::backend_label)
