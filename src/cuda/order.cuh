// Launches of one submission may overlap: a kernel starts when all groups of the one before have called allow_next() or
// are done, and sees that one's results behind await_previous(). Before Hopper a kernel starts when the one before
// ends.
#pragma once

namespace mlx_native::cuda {

__device__ __forceinline__ void allow_next() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void await_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace mlx_native::cuda
