#pragma once

#include "gpu/kernels/decode_rows.h"
#include "gpu/kernels/mat_vec.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

template <class Format, int kM>
struct MatVecKernel {
  using Args = MatmulArgs;
  K_STATIC int kThreads = MatVecShape::kThreads, kScratchBytes = MatVecShape::kScratchBytes;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    mat_vec<Format, kM>(t, a, scratch);
  }
};

template <class Format>
struct MatVecIdKernel {
  using Args = MatmulIdArgs;
  K_STATIC int kThreads = MatVecShape::kThreads, kScratchBytes = MatVecShape::kScratchBytes;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    mat_vec_id<Format>(t, a, scratch);
  }
};

template <class Format>
struct DequantizeKernel {
  using Args = DequantizeArgs;
  K_STATIC int kThreads = 256, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    dequantize<Format>(t, a, scratch);
  }
};

template <class Format>
struct EmbeddingGatherKernel {
  using Args = EmbeddingArgs;
  K_STATIC int kThreads = 256, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    embedding_gather<Format>(t, a, scratch);
  }
};

/// Any m, by up to four rows of x at a time.
template <class Format>
struct MatVec {
  using Args = MatmulArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    const std::uint64_t row_tiles = tiles(a.n, MatVecShape::kGroupRows);
    if (a.m == 1)
      on.template run<MatVecKernel<Format, 1>>(group_count(row_tiles), a);
    else if (a.m == 2)
      on.template run<MatVecKernel<Format, 2>>(group_count(row_tiles), a);
    else
      on.template run<MatVecKernel<Format, 4>>(group_count(row_tiles * tiles(a.m, 4)), a);
  }
};

template <class Format>
struct MatVecId {
  using Args = MatmulIdArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k;
    on.template run<MatVecIdKernel<Format>>(group_count(slots * tiles(a.n, MatVecShape::kGroupRows)), a);
  }
};

template <class Format>
struct Dequantize {
  using Args = DequantizeArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    using Kernel = DequantizeKernel<Format>;
    on.template run<Kernel>(group_count(tiles(a.n_blocks, Kernel::kThreads)), a);
  }
};

template <class Format>
struct EmbeddingGather {
  using Args = EmbeddingArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    on.template run<EmbeddingGatherKernel<Format>>(group_count(a.n_tokens), a);
  }
};

}  // namespace mlx_native::gpu
