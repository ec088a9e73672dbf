#include <gtest/gtest.h>

#include <cstdlib>

int main(int argc, char** argv) {
  // Before the suites ask which backends there are: the emulator is one of them in every test run.
  ::setenv("MLX_NATIVE_EMULATOR", "1", 0);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
