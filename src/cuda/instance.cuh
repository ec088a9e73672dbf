// Device code of the common kernels. Included by the generated translation units alone.
#pragma once

#include "cuda/launch.h"
#include "cuda/order.cuh"
#include "cuda/thread.cuh"

namespace mlx_native::cuda {

/// Groups that one multiprocessor shall have registers for.
template <class Kernel>
constexpr int at_once() {
  if constexpr (requires { Kernel::kAtOnce; }) return Kernel::kAtOnce;
  return 1;
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, at_once<Kernel>())
    common_kernel(const __grid_constant__ typename Kernel::Args args) {
  extern __shared__ __align__(16) float scratch[];
  allow_next();
  if constexpr (requires { Kernel::before(Thread{}, args, scratch); }) {
    Kernel::before(Thread{}, args, scratch);
    await_previous();
    Kernel::after(Thread{}, args, scratch);
  } else {
    await_previous();
    Kernel::run(Thread{}, args, scratch);
  }
}

template <class Kernel>
void Launch::run(std::uint32_t groups, const typename Kernel::Args& args) {
  bool overlap = true;
  if constexpr (requires { Kernel::reads_early(args, is_new); }) overlap = !Kernel::reads_early(args, is_new);
  start(reinterpret_cast<const void*>(&common_kernel<Kernel>), {groups, Kernel::kThreads, Kernel::kScratchBytes}, &args,
        overlap);
}

template <class Family>
void run_family(const void* args, void* launch) {
  Family::launch(*static_cast<Launch*>(launch), *static_cast<const typename Family::Args*>(args));
}

}  // namespace mlx_native::cuda
