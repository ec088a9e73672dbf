// Which kernel runs an op's problem, on which grid. A family is a row of every GPU backend's table: launch() hands the
// chosen kernel to the backend as `on.template run<Kernel>(groups, args)`.
//
// A Kernel here is a kernel of gpu/kernels with its parameters bound:
//   Args, kThreads (of a group), kScratchBytes, run(thread, args, scratch)
#pragma once

#include "formats/list.h"
#include "gpu/kernels/decode_rows.h"
#include "gpu/kernels/mat_vec.h"
#include "gpu/kernels/rms_norm.h"

namespace mlx_native::gpu {

/// Groups beyond this many loop inside the kernel: above any machine's width, below every API's limit.
inline constexpr std::uint64_t kMaxGroups = std::uint64_t{1} << 30;

inline std::uint32_t group_count(std::uint64_t units) {
  return static_cast<std::uint32_t>(units < kMaxGroups ? units : kMaxGroups);
}
inline std::uint64_t tiles(std::uint64_t n, std::uint64_t tile) { return n / tile + (n % tile != 0); }

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

template <bool kGroupPerRow>
struct RmsNormKernel {
  using Args = RmsNormArgs;
  K_STATIC int kThreads = 256, kScratchBytes = kGroupPerRow ? kThreads / 32 * 4 : 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    rms_norm<kGroupPerRow>(t, a, scratch);
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

struct RmsNorm {
  using Args = RmsNormArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    // Up to 16 values a lane, one simdgroup is as fast as eight and needs no barrier.
    if (a.dim <= 512)
      on.template run<RmsNormKernel<false>>(group_count(tiles(a.rows, RmsNormKernel<false>::kThreads / 32)), a);
    else
      on.template run<RmsNormKernel<true>>(group_count(a.rows), a);
  }
};

}  // namespace mlx_native::gpu
