#pragma once

#include "gpu/kernels/moe.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

struct MoeSoftmaxTopkKernel {
  using Args = MoeSoftmaxTopkArgs;
  K_STATIC int kThreads = 128, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    moe_softmax_topk(t, a, scratch);
  }
};

struct MoeWeightedReduceKernel {
  using Args = MoeReduceAddArgs;
  K_STATIC int kThreads = 256, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    moe_weighted_reduce(t, a, scratch);
  }
};

struct MoeSoftmaxTopk {
  using Args = MoeSoftmaxTopkArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    on.template run<MoeSoftmaxTopkKernel>(group_count(tiles(a.n_tokens, MoeSoftmaxTopkKernel::kThreads / 32)), a);
  }
};

struct MoeWeightedReduce {
  using Args = MoeWeightedReduceArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    launch(on, MoeReduceAddArgs{.reduce = a, .residual = nullptr, .sum = nullptr});
  }
  template <class Launcher>
  static void launch(Launcher& on, const MoeReduceAddArgs& a) {
    const std::uint64_t row_tiles = tiles(a.reduce.dim, MoeWeightedReduceKernel::kThreads);
    on.template run<MoeWeightedReduceKernel>(group_count(a.reduce.n_tokens * row_tiles), a);
  }
};

struct MoeReduceAdd {
  using Args = MoeReduceAddArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    MoeWeightedReduce::launch(on, a);
  }
};

}  // namespace mlx_native::gpu
