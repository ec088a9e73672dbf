#include "cuda/kernels.h"

#include <algorithm>
#include <iterator>

#include "cuda/attention/families.h"
#include "cuda/launch.h"
#include "cuda/moe/router.h"
#include "cuda/tensor/families.h"
#include "cuda/vec/families.h"
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

std::vector<detail::Kernel> kernels() {
  std::vector<detail::Kernel> all = few_tokens_kernels();
  std::ranges::move(vec_kernels(), std::back_inserter(all));
  std::ranges::move(attention_kernels(), std::back_inserter(all));
  std::ranges::move(router_kernels(), std::back_inserter(all));
  std::ranges::move(gpu::rows<Entries>(Backend::Cuda, "cuda.simt"), std::back_inserter(all));
  std::ranges::move(vec_mat_mat_kernels(false), std::back_inserter(all));
  std::ranges::move(tensor_kernels(false), std::back_inserter(all));
  std::ranges::move(vec_mat_mat_kernels(true), std::back_inserter(all));
  std::ranges::move(tensor_kernels(true), std::back_inserter(all));
  return all;
}

}  // namespace mlx_native::cuda
