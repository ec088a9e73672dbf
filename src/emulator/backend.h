// A GPU that is g++: kernels of gpu/kernels on fibers, for tests.
#pragma once

#include "runtime/device_base.h"

namespace mlx_native::emulator {

/// Available where the environment holds MLX_NATIVE_EMULATOR=1.
detail::BackendEntry backend_entry();

}  // namespace mlx_native::emulator
