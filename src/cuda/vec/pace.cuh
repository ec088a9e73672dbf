// How far a warp that fills a ring may be ahead of what has come.
#pragma once

#include "cuda/tensor/wgmma.cuh"

namespace mlx_native::cuda {

/// keep() before each stage that is loaded, which follow each other in the ring, waits until at most `ahead` of them,
/// one of them new, are on their way. ahead: at most `stages`.
struct Pace {
  std::uint32_t ahead, stages;
  std::uint32_t behind = 0, parity = 0;
  __device__ __forceinline__ void keep(Handover* ring) {
    if (ahead > 0) {
      --ahead;
      return;
    }
    ring[behind].full.await(parity);
    if (++behind == stages) behind = 0, parity ^= 1;
  }
};

}  // namespace mlx_native::cuda
