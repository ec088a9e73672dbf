#pragma once

#include "gpu/kernels/add_norm.h"
#include "gpu/kernels/heads_to_cache.h"
#include "gpu/launch/grid.h"
#include "gpu/launch/rope.h"

namespace mlx_native::gpu {

/// Two halves, so that a backend can begin while earlier commands still run: before() is safe unless one of them writes
/// what reads_early() asks about.
struct HeadsToCacheKernel {
  using Args = HeadsProblem;
  K_STATIC int kThreads = HeadsShape::kThreads, kScratchBytes = HeadsShape::kScratchBytes;
  K_STATIC int kAtOnce = 5;  // as AddNormKernel
  template <class Thread>
  static K_FN void before(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    heads_angles(t, a, t.group(), scratch);
  }
  template <class Thread>
  static K_FN void after(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    heads_to_cache(t, a, scratch);
  }
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    before(t, a, scratch);
    after(t, a, scratch);
  }
  static bool reads_early(const Args& a, const auto& is_new) { return rotates_by_new(a, is_new); }
};

struct AddNormKernel {
  using Args = AddNormArgs;
  K_STATIC int kThreads = AddNormShape::kThreads, kScratchBytes = kThreads / 32 * 4;
  K_STATIC int kAtOnce = 5;  // so that there is room for one beside a product's group
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    add_norm(t, a, scratch);
  }
};

struct HeadsToCache {
  using Args = HeadsToCacheArgs;
  static bool supports(const Args& a) { return a.head_dim <= HeadsShape::kMostDim; }
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    // A head per simdgroup, as long as that fills the machine; else groups that share a token's angles.
    const std::uint64_t parts = tiles(a.n_heads + std::uint64_t{2} * a.n_kv_heads, HeadsShape::kThreads / 32);
    const bool few = a.n_tokens * parts <= kFew;
    const HeadsProblem problem = heads_problem(a, few ? static_cast<std::uint32_t>(parts) : 1);
    on.template run<HeadsToCacheKernel>(group_count(std::uint64_t{a.n_tokens} * problem.parts), problem);
  }

 private:
  static constexpr std::uint64_t kFew = 256;
};

struct AddNorm {
  using Args = AddNormArgs;
  static bool supports(const Args& a) {
    return a.dim > RmsNormShape::kMostOfSimdgroup && a.dim <= AddNormShape::kKept * AddNormShape::kThreads;
  }
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    on.template run<AddNormKernel>(group_count(a.rows), a);
  }
};

}  // namespace mlx_native::gpu
