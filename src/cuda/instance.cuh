// Device code of the common kernels. Included by the generated translation units alone.
#pragma once

#include "cuda/launch.h"
#include "cuda/thread.cuh"
#include "gpu/launch/families.h"

namespace mlx_native::cuda {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) common_kernel(const __grid_constant__ typename Kernel::Args args) {
  extern __shared__ __align__(16) float scratch[];
  Kernel::run(Thread{}, args, scratch);
}

template <class Kernel>
void Launch::run(std::uint32_t groups, const typename Kernel::Args& args) {
  if (status != cudaSuccess) return;
  static_assert(Kernel::kScratchBytes <= 48 << 10, "more must be asked for by cudaFuncSetAttribute");
  const void* const kernel = reinterpret_cast<const void*>(&common_kernel<Kernel>);
  void* pointers[] = {const_cast<typename Kernel::Args*>(&args)};
  status = cudaLaunchKernel(kernel, dim3(groups), dim3(Kernel::kThreads), pointers, Kernel::kScratchBytes, stream);
}

template <class Family>
void run_family(const void* args, void* launch) {
  Family::launch(*static_cast<Launch*>(launch), *static_cast<const typename Family::Args*>(args));
}

}  // namespace mlx_native::cuda
