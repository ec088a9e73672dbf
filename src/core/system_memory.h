#pragma once

#include <cstddef>

namespace mlx_native {

std::size_t physical_memory();
/// Bytes that can be allocated without swapping, by the kernel's own estimate.
std::size_t available_memory();

}  // namespace mlx_native
