#pragma once

#include <cuda_runtime.h>

#include "cuda/launch.h"

namespace mlx_native::cuda {

/// Launches a kernel on `on`, unless something failed before.
template <class... Params>
void start(Launch& on, void (*kernel)(Params...), dim3 grid, dim3 group, std::size_t shared_bytes,
           const std::type_identity_t<Params>&... params) {
  if (on.status != cudaSuccess) return;
  if (shared_bytes > 48 << 10)
    on.status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared_bytes));
  if (on.status != cudaSuccess) return;
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&params))...};
  on.status = cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, group, pointers, shared_bytes, on.stream);
}

}  // namespace mlx_native::cuda
