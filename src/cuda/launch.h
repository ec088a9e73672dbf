// Where a kernel of the table meets the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace mlx_native::cuda {

/// What a KernelEntry of this backend is called with: the stream to launch on, and the first failure.
struct Launch {
  cudaStream_t stream = nullptr;
  cudaError_t status = cudaSuccess;

  /// Defined in instance.cuh, where device code is compiled.
  template <class Kernel>
  void run(std::uint32_t groups, const typename Kernel::Args& args);
};

/// A KernelEntry. Instantiated in one translation unit per family (CMakeLists.txt).
template <class Family>
void run_family(const void* args, void* launch);

}  // namespace mlx_native::cuda
