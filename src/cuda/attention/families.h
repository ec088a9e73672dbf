// Attention of many tokens on the tensor cores.
#pragma once

#include <cstddef>
#include <vector>

#include "args/attention.h"
#include "cuda/launch.h"
#include "runtime/kernel.h"

namespace mlx_native::cuda {

/// Defined for head_dim 64, 80, 96, 112 and 128, each in a translation unit of its own (CMakeLists.txt).
template <int kDim>
void launch_flash(Launch& on, const AttentionArgs& a);

/// A row of the backend's table, better than the common kernels where it supports the problem.
std::vector<detail::Kernel> attention_kernels();

}  // namespace mlx_native::cuda
