// Attention of one token on Hopper, with or without the making of its heads.
#pragma once

#include "args/attention.h"
#include "args/fused.h"
#include "cuda/launch.h"

namespace mlx_native::cuda {

/// False: the kernel cannot do it. Defined for a cache of float and of halfs, each in a translation unit of its own
/// (CMakeLists.txt).
template <class T>
bool launch_token(Launch& on, const AttentionArgs& a);
template <class T>
bool launch_token(Launch& on, const HeadsAttentionArgs& a);

}  // namespace mlx_native::cuda
