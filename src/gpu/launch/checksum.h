#pragma once

#include "gpu/kernels/checksum.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

struct ChecksumKernel {
  using Args = ChecksumArgs;
  K_STATIC int kThreads = ChecksumShape::kThreads, kScratchBytes = kThreads * 4;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    checksum(t, a, reinterpret_cast<K_SHARED uint32_t*>(scratch));
  }
};

struct Checksum {
  using Args = ChecksumArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    on.template run<ChecksumKernel>(group_count(tiles(a.n_words, a.part)), a);
  }
};

}  // namespace mlx_native::gpu
