// The router of experts and its choice of them as one kernel.
#pragma once

#include <vector>

#include "args/fused.h"
#include "cuda/launch.h"
#include "runtime/kernel.h"

namespace mlx_native::cuda {

/// An Op::Router of F32 weights, for decode on Hopper: the bits of the common product and of the common softmax and
/// top k.
struct Router {
  using Args = RouterArgs;
  static constexpr std::uint32_t kMostTokens = 4, kMostExperts = 1024;
  static bool supports(const Args& a);
  static void launch(Launch& on, const Args& a);
};

/// A row of the backend's table.
std::vector<detail::Kernel> router_kernels();

}  // namespace mlx_native::cuda
