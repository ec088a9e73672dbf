#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/kernels/attention.h"
#include "gpu/kernels/attention_token.h"
#include "gpu/kernels/kv_cache.h"
#include "gpu/launch/grid.h"
#include "gpu/launch/rope.h"

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

/// As HeadsToCacheKernel, in two halves.
template <class T, int kPack, int kChunks, int kMostRows>
struct HeadsAttentionKernel {
  using Args = HeadsAttentionProblem;
  using Shape = AttentionTokenShape<kPack * kChunks, kMostRows>;
  K_STATIC int kThreads = 32 * Shape::kSimdgroups, kScratchBytes = Shape::kScratchBytes + Shape::kMadeBytes;
  template <class Thread>
  static K_FN void before(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    begin_heads<Shape>(t, a, scratch + Shape::kScratchBytes / 4);
  }
  template <class Thread>
  static K_FN void after(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    attend_token<T, kPack, kChunks, kMostRows>(t, a, scratch);
  }
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    before(t, a, scratch);
    after(t, a, scratch);
  }
  static bool reads_early(const Args& a, const auto& is_new) { return rotates_by_new(a.heads, is_new); }
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

  template <int kPack, int kChunks>
  struct Packs {};
  /// Calls use(Packs<...>) with the packs of values that a lane takes; false: there are none.
  template <class T>
  static bool with_packs(const Args& a, const auto& use) {
    const auto packs_of = [&](std::uint32_t n) {
      const auto addresses = reinterpret_cast<std::uintptr_t>(a.k_cache) | reinterpret_cast<std::uintptr_t>(a.v_cache);
      return a.head_dim % n == 0 && addresses % (n * sizeof(T)) == 0 &&
             (a.n_tokens > 1 || reinterpret_cast<std::uintptr_t>(a.query) % (n * sizeof(float)) == 0);
    };
    if (a.head_dim <= 64 && packs_of(2))
      use(Packs<2, 1>{});
    else if (a.head_dim <= 128 && packs_of(4))
      use(Packs<4, 1>{});
    else if (a.head_dim <= 256 && packs_of(4))
      use(Packs<4, 2>{});
    else if (a.head_dim <= 512 && packs_of(4))
      use(Packs<4, 4>{});
    else
      return false;
    return true;
  }
  /// One token's, by Kernel<T, kPack, kChunks, kMostRows>; problem_of() makes its arguments of an AttentionProblem.
  template <template <class, int, int, int> class Kernel, class T, int kPack, int kChunks, class Launcher>
  static void launch_token(Launcher& on, const Args& a, const auto& problem_of) {
    const auto launch_rows = [&]<int kMostRows> {
      using Chosen = Kernel<T, kPack, kChunks, kMostRows>;
      const std::uint64_t row_groups = tiles(a.n_heads / a.n_kv_heads, Chosen::Shape::kRows) * a.n_kv_heads;
      const AttentionProblem problem{a, token_splits(a, row_groups)};
      on.template run<Chosen>(group_count(row_groups * problem.splits), problem_of(problem));
      if (problem.splits > 1) on.template run<AttentionCombineKernel>(group_count(a.n_heads), problem);
    };
    const std::uint32_t group = a.n_heads / a.n_kv_heads;
    if (group == 1)
      launch_rows.template operator()<1>();
    else if (group == 2)
      launch_rows.template operator()<2>();
    else
      launch_rows.template operator()<4>();
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
    const auto launch_packs = [&]<int kPack, int kChunks>(Packs<kPack, kChunks>) {
      if (a.n_tokens > 1)
        launch_rows<T, kPack, kChunks>(on, a);
      else
        launch_token<AttendTokenKernel, T, kPack, kChunks>(on, a, [](const AttentionProblem& p) { return p; });
    };
    if (!with_packs<T>(a, launch_packs)) launch_rows<T, 1, 16>(on, a);
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

/// The bits of HeadsToCache and then Attention.
struct HeadsAttention {
  using Args = HeadsAttentionArgs;
  using Alone = Attention;

  static bool supports(const Args& args) {
    const AttentionArgs a = attention(args);
    const auto nothing = [](auto) {};
    return a.n_tokens == 1 && a.head_dim <= HeadsShape::kMostDim &&
           (a.f16 ? Attention::with_packs<std::uint16_t>(a, nothing) : Attention::with_packs<float>(a, nothing));
  }
  template <class Launcher>
  static void launch(Launcher& on, const Args& args) {
    if (args.heads.f16)
      launch_as<std::uint16_t>(on, args);
    else
      launch_as<float>(on, args);
  }

  static AttentionArgs attention(const Args& args) {
    const HeadsToCacheArgs& h = args.heads;
    return {.query = h.query,
            .k_cache = h.k_cache,
            .v_cache = h.v_cache,
            .positions = h.positions,
            .output = args.output,
            .scratch = args.scratch,
            .f16 = h.f16,
            .n_tokens = h.n_tokens,
            .n_heads = h.n_heads,
            .n_kv_heads = h.n_kv_heads,
            .head_dim = h.head_dim,
            .kv_capacity = h.kv_capacity,
            .causal = args.causal,
            .sliding_window = args.sliding_window,
            .scale = args.scale,
            .softcap = args.softcap,
            .likely_keys = args.likely_keys};
  }

 private:
  template <class T, class Launcher>
  static void launch_as(Launcher& on, const Args& args) {
    const AttentionArgs a = attention(args);
    const HeadsProblem heads = heads_problem(args.heads, 1);
    (void)Attention::with_packs<T>(a, [&]<int kPack, int kChunks>(Attention::Packs<kPack, kChunks>) {
      if constexpr (32 * kPack * kChunks <= HeadsShape::kMostDim)
        Attention::launch_token<HeadsAttentionKernel, T, kPack, kChunks>(on, a, [&](const AttentionProblem& p) {
          return HeadsAttentionProblem{p, heads};
        });
    });
  }
};

}  // namespace mlx_native::gpu
