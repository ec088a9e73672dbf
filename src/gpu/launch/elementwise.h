#pragma once

#include "gpu/kernels/elementwise.h"
#include "gpu/kernels/rms_norm.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

template <bool kGroupPerRow>
struct RmsNormKernel {
  using Args = RmsNormArgs;
  K_STATIC int kThreads = 256, kScratchBytes = kGroupPerRow ? kThreads / 32 * 4 : 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    rms_norm<kGroupPerRow>(t, a, scratch);
  }
};

template <class Combine, bool kBroadcast>
struct BinaryKernel {
  using Args = BinaryArgs;
  K_STATIC int kThreads = ElementwiseShape::kThreads, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    binary<Combine, kBroadcast>(t, a, scratch);
  }
};

template <uint32_t kPerThread>
struct SiluMulKernel {
  using Args = SiluMulArgs;
  K_STATIC int kThreads = ElementwiseShape::kThreads, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    silu_mul<kPerThread>(t, a, scratch);
  }
};

struct GeluKernel {
  using Args = GeluArgs;
  K_STATIC int kThreads = 256, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    gelu(t, a, scratch);
  }
};

struct RmsNorm {
  using Args = RmsNormArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    if (a.dim <= RmsNormShape::kMostOfSimdgroup)
      on.template run<RmsNormKernel<false>>(group_count(tiles(a.rows, RmsNormKernel<false>::kThreads / 32)), a);
    else
      on.template run<RmsNormKernel<true>>(group_count(a.rows), a);
  }
};

template <class Combine>
struct Binary {
  using Args = BinaryArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    constexpr std::uint64_t kTile = ElementwiseShape::kTile;
    if (a.b_rows == 1 && a.rows > 1)
      on.template run<BinaryKernel<Combine, true>>(group_count(a.rows * tiles(a.cols, kTile)), a);
    else
      on.template run<BinaryKernel<Combine, false>>(group_count(tiles(std::uint64_t{a.rows} * a.cols, kTile)), a);
  }
};
using Add = Binary<Sum>;
using Mul = Binary<Product>;

struct SiluMul {
  using Args = SiluMulArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    constexpr std::uint64_t kFew = 1 << 17;  // one value a thread: latency counts, not loads in flight
    if (a.n <= kFew)
      on.template run<SiluMulKernel<1>>(group_count(tiles(a.n, ElementwiseShape::kThreads)), a);
    else
      on.template run<SiluMulKernel<4>>(group_count(tiles(a.n, ElementwiseShape::kTile)), a);
  }
};

struct Gelu {
  using Args = GeluArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    on.template run<GeluKernel>(group_count(tiles(a.n, GeluKernel::kThreads)), a);
  }
};

}  // namespace mlx_native::gpu
