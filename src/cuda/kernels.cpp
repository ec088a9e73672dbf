#include "cuda/kernels.h"

#include "cuda/launch.h"
#include "gpu/launch/rows.h"

namespace mlx_native::cuda {

namespace {
struct Entries {
  template <class Family>
  static constexpr detail::KernelEntry entry() {
    return run_family<Family>;
  }
};
}  // namespace

std::vector<detail::Kernel> kernels() { return gpu::rows<Entries>(Backend::Cuda, "cuda.simt"); }

}  // namespace mlx_native::cuda
