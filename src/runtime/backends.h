#pragma once

#include <span>

#include "runtime/device_base.h"

namespace mlx_native::detail {

/// The backends of this build, best first.
std::span<const BackendEntry> backends();

}  // namespace mlx_native::detail
