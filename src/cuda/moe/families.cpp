#include "cuda/tensor/families.h"

#include <fmt/format.h>

#include "cuda/moe/router.h"
#include "formats/list.h"
#include "gpu/launch/matmul.h"

namespace mlx_native::cuda {

bool Router::supports(const Args& a) {
  return a.product.m <= kMostTokens && a.product.n <= kMostExperts && every_device_is_hopper();
}

std::vector<detail::Kernel> router_kernels() {
  return {{.name = "cuda.router.f32",
           .backend = Backend::Cuda,
           .op = detail::Op::Router,
           .format = GgmlType::F32,
           .entry =
               [](const void* args, void* launch) {
                 Router::launch(*static_cast<Launch*>(launch), *static_cast<const RouterArgs*>(args));
               },
           .supports = [](const void* args) { return Router::supports(*static_cast<const RouterArgs*>(args)); },
           .alone = run_family<gpu::MatVec<F32>>}};
}

}  // namespace mlx_native::cuda
