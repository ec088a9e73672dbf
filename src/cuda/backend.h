// NVIDIA GPUs through the CUDA runtime, which is linked statically and looks for the driver when asked.
#pragma once

#include "runtime/device_base.h"

namespace mlx_native::cuda {

/// Available where there are a driver and a device.
detail::BackendEntry backend_entry();

}  // namespace mlx_native::cuda
