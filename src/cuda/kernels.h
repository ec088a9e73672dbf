#pragma once

#include <vector>

#include "runtime/kernel.h"

namespace mlx_native::cuda {

std::vector<detail::Kernel> kernels();

}  // namespace mlx_native::cuda
