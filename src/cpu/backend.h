#pragma once

#include "runtime/device_base.h"

namespace mlx_native::cpu {

detail::BackendEntry backend_entry();

}  // namespace mlx_native::cpu
