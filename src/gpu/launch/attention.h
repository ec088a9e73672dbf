#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/kernels/attention.h"
#include "gpu/kernels/attention_token.h"
#include "gpu/kernels/kv_cache.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

template <bool kHalf>
struct KvCacheWriteKernel {
  using Args = KvCacheWriteArgs;
  K_STATIC int kThreads = 128, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    kv_cache_write<kHalf>(t, a, scratch);
  }
};

template <class T, int kPack, int kChunks, int kRows>
struct AttendKernel {
  using Args = AttentionProblem;
  K_STATIC int kThreads = AttentionShape::kThreads, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    attend<T, kPack, kChunks, kRows>(t, a, scratch);
  }
};

template <class T, int kPack, int kChunks, int kMostRows>
struct AttendTokenKernel {
  using Args = AttentionProblem;
  using Shape = AttentionTokenShape<kPack * kChunks, kMostRows>;
  K_STATIC int kThreads = 32 * Shape::kSimdgroups, kScratchBytes = Shape::kScratchBytes;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    attend_token<T, kPack, kChunks, kMostRows>(t, a, scratch);
  }
};

struct AttentionCombineKernel {
  using Args = AttentionProblem;
  K_STATIC int kThreads = 128, kScratchBytes = 0;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    attention_combine(t, a, scratch);
  }
};

struct KvCacheWrite {
  using Args = KvCacheWriteArgs;
  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    const std::uint32_t groups = group_count(std::uint64_t{a.n_tokens} * a.n_kv_heads);
    if (a.f16)
      on.template run<KvCacheWriteKernel<true>>(groups, a);
    else
      on.template run<KvCacheWriteKernel<false>>(groups, a);
  }
};

/// One token by attend_token; of several, rows by fours where a KV head has more than one. Packs of values where
/// head_dim and the caches' addresses allow it.
struct Attention {
  using Args = AttentionArgs;

  static std::size_t scratch_bytes(const Args& a) {
    // The addresses are not known yet: both ways must have enough.
    const std::uint64_t n = a.n_tokens == 1 ? std::max(splits(a), most_token_splits(a)) : splits(a);
    return n == 1 ? 0 : n * a.n_tokens * a.n_heads * (std::size_t{a.head_dim} + 2) * sizeof(float);
  }

  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    if (a.f16)
      launch_as<std::uint16_t>(on, a);
    else
      launch_as<float>(on, a);
  }

 private:
  // About what fills the largest GPU of today: 132 multiprocessors with 16 simdgroups each.
  static constexpr std::uint64_t kEnoughSimdgroups = 2048, kEnoughGroups = 264;
  // A split shall be worth its partial: at least this many keys, and no more splits than one thread adds up quickly.
  static constexpr std::uint64_t kKeysPerSplit = 128, kMostSplits = AttentionShape::kMostSplits;

  static std::uint64_t row_tiles(const Args& a) {
    const std::uint64_t rows = std::uint64_t{a.n_tokens} * (a.n_heads / a.n_kv_heads);
    return rows == 1 ? 1 : tiles(rows, 4);
  }
  static std::uint32_t splits_of(std::uint64_t keys, std::uint64_t keys_per_split, std::uint64_t wanted) {
    const std::uint64_t n = std::min({tiles(keys, keys_per_split), kMostSplits, wanted});
    return static_cast<std::uint32_t>(n == 0 ? 1 : n);
  }
  static std::uint32_t splits(const Args& a) {
    return splits_of(a.kv_capacity, kKeysPerSplit, kEnoughSimdgroups / (row_tiles(a) * a.n_kv_heads));
  }
  /// row_groups: of kRows rows.
  static std::uint32_t token_splits(const Args& a, std::uint64_t row_groups) {
    return splits_of(a.kv_capacity, 2 * kKeysPerSplit, kEnoughGroups / row_groups);
  }
  static std::uint32_t most_token_splits(const Args& a) { return token_splits(a, a.n_kv_heads); }

  template <class T, class Launcher>
  static void launch_as(Launcher& on, const Args& a) {
    const auto packs_of = [&](std::uint32_t n) {
      const auto addresses = reinterpret_cast<std::uintptr_t>(a.k_cache) | reinterpret_cast<std::uintptr_t>(a.v_cache);
      return a.head_dim % n == 0 && addresses % (n * sizeof(T)) == 0 &&
             (a.n_tokens > 1 || reinterpret_cast<std::uintptr_t>(a.query) % (n * sizeof(float)) == 0);
    };
    if (a.head_dim <= 64 && packs_of(2))
      launch_packs<T, 2, 1>(on, a);
    else if (a.head_dim <= 128 && packs_of(4))
      launch_packs<T, 4, 1>(on, a);
    else if (a.head_dim <= 256 && packs_of(4))
      launch_packs<T, 4, 2>(on, a);
    else if (a.head_dim <= 512 && packs_of(4))
      launch_packs<T, 4, 4>(on, a);
    else
      launch_rows<T, 1, 16>(on, a);
  }
  template <class T, int kPack, int kChunks, class Launcher>
  static void launch_packs(Launcher& on, const Args& a) {
    const std::uint32_t group = a.n_heads / a.n_kv_heads;
    if (a.n_tokens > 1)
      launch_rows<T, kPack, kChunks>(on, a);
    else if (group == 1)
      launch_token<T, kPack, kChunks, 1>(on, a);
    else if (group == 2)
      launch_token<T, kPack, kChunks, 2>(on, a);
    else
      launch_token<T, kPack, kChunks, 4>(on, a);
  }
  template <class T, int kPack, int kChunks, int kMostRows, class Launcher>
  static void launch_token(Launcher& on, const Args& a) {
    using Kernel = AttendTokenKernel<T, kPack, kChunks, kMostRows>;
    const std::uint64_t row_groups = tiles(a.n_heads / a.n_kv_heads, Kernel::Shape::kRows) * a.n_kv_heads;
    const AttentionProblem problem{a, token_splits(a, row_groups)};
    on.template run<Kernel>(group_count(row_groups * problem.splits), problem);
    if (problem.splits > 1) on.template run<AttentionCombineKernel>(group_count(a.n_heads), problem);
  }
  template <class T, int kPack, int kChunks, class Launcher>
  static void launch_rows(Launcher& on, const Args& a) {
    const AttentionProblem problem{a, splits(a)};
    const std::uint64_t slices = tiles(a.head_dim, 32 * kPack * kChunks);
    const std::uint64_t simdgroups = row_tiles(a) * problem.splits * slices * a.n_kv_heads;
    const std::uint32_t groups = group_count(tiles(simdgroups, AttentionShape::kThreads / 32));
    if (std::uint64_t{a.n_tokens} * (a.n_heads / a.n_kv_heads) == 1)
      on.template run<AttendKernel<T, kPack, kChunks, 1>>(groups, problem);
    else
      on.template run<AttendKernel<T, kPack, kChunks, 4>>(groups, problem);
    if (problem.splits > 1)
      on.template run<AttentionCombineKernel>(group_count(std::uint64_t{a.n_tokens} * a.n_heads), problem);
  }
};

}  // namespace mlx_native::gpu
