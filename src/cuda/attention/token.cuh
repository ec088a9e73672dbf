// Attention of one token by clusters, on Hopper: one launch, whatever the number of keys. They and their values are on
// their way before the kernel before ends; what the warps of a cluster have of a row meets in shared memory. Included
// by the generated translation units alone.
//
// The arithmetic of a warp is that of gpu/kernels/attention_token.h. A HeadsAttentionProblem has its queries, and the
// token's own key and value, made from the products' results, as there.
#pragma once

#include "cuda/attention/token.h"
#include "cuda/attention/token_plan.h"
#include "cuda/order.cuh"
#include "cuda/thread.cuh"
#include "cuda/vec/cluster.cuh"
#include "gpu/launch/attention.h"

namespace mlx_native::cuda {

template <class Problem>
struct TokenCall {
  Problem problem;
  TokenPlan plan;
};

/// A warp that waits for itself alone.
struct OneWarp : Thread {
  __device__ void barrier() const { __syncwarp(); }
};

/// A group's part of the keys and values of a KV head: of those that the query sees, in the order of their positions,
/// the ones from `start` on.
template <class T>
struct Stretch {
  const T *keys, *values;
  std::uint32_t first_slot, capacity;  // slots are a ring
  std::uint32_t start, stop, step_keys, steps, dim;
  std::uint32_t cached;  // the first one that the cache does not have yet: the token's own

  __device__ __forceinline__ std::uint32_t slot(std::uint32_t i) const {
    return first_slot + i < capacity ? first_slot + i : first_slot + i - capacity;
  }
  /// Keys, then values.
  __device__ __forceinline__ void copy(std::uint32_t step, T* to, SharedBarrier& full) const {
    const std::uint32_t first = start + step * step_keys, count = min(min(stop, cached) - first, step_keys);
    const std::uint32_t from = slot(first), up = min(capacity - from, count), row = dim * sizeof(T);
    full.arrive_and_expect(2 * count * row);
    if (count == 0) return;
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const T* const cache = i == 0 ? keys : values;
      T* const there = to + i * step_keys * dim;
      bulk_copy(there, cache + std::uint64_t(from) * dim, up * row, full);
      if (up < count) bulk_copy(there + up * dim, cache, (count - up) * row, full);
    }
  }
};

template <int kPack>
__device__ __forceinline__ void send_pack(float* own, const float* v, ClusterBarrier& barrier, std::uint32_t rank) {
  if constexpr (kPack == 4)
    send(own, make_float4(v[0], v[1], v[2], v[3]), barrier, rank);
  else
    send(own, make_float2(v[0], v[1]), barrier, rank);
}

/// What a thread knows of its group's work.
template <class T, int kPack, int kChunks, int kMostRows, class Problem>
struct TokenGroup {
  static constexpr bool kMakes = Problem::kMakesHeads;
  using Shape = TokenShape<kPack * kChunks, kMostRows>;
  using Share = gpu::LaneValues<kPack, kChunks>;
  static constexpr std::uint32_t kRows = Shape::kRows, kKeys = Shape::kKeys, kSlice = Shape::kSlice;
  using Rows = gpu::TokenRows<kPack, kChunks, kRows, kKeys>;
  static constexpr std::uint32_t kKept = kPack * kChunks;
  using Kept = gpu::HeadRow<kKept>;

  const Problem& problem;
  const AttentionArgs& a;
  const TokenPlan& plan;
  std::uint8_t* const shared;
  const std::uint32_t lane = threadIdx.x % 32, warp = own_warp(), dim = a.head_dim;
  const std::uint32_t rank = blockIdx.x % plan.groups, unit = blockIdx.x / plan.groups;
  const std::uint32_t head_group = a.n_heads / a.n_kv_heads, tiles = (head_group - 1) / kRows + 1;
  const std::uint32_t tile = unit % tiles, kv_head = unit / tiles;
  const std::uint32_t first_row = kv_head * head_group + tile * kRows, rows = min(head_group - tile * kRows, kRows);
  // The chunks of 32 values, of all rows, that this group adds up.
  const std::uint32_t row_chunks = (dim - 1) / 32 + 1, chunks = kRows * row_chunks;
  const std::uint32_t first_chunk = rank << plan.chunks_log2;
  const std::uint32_t own_chunks = first_chunk < chunks ? min(chunks - first_chunk, 1u << plan.chunks_log2) : 0;
  const std::uint64_t cache = std::uint64_t(kv_head) * a.kv_capacity * dim;
  const OneWarp t = {};

  __device__ __forceinline__ TokenGroup(const TokenCall<Problem>& call, std::uint8_t* bytes)
      : problem(call.problem), a(gpu::attention_of(call.problem).attention), plan(call.plan), shared(bytes) {}

  __device__ __forceinline__ Handover* stages() const { return reinterpret_cast<Handover*>(shared); }
  __device__ __forceinline__ ClusterBarrier& gathered() const {
    return *reinterpret_cast<ClusterBarrier*>(stages() + kMostTokenStages);
  }
  __device__ __forceinline__ float* angles() const { return reinterpret_cast<float*>(shared + plan.heads_at); }
  __device__ __forceinline__ float* head(std::uint32_t row) const { return angles() + (1 + row) * kSlice; }
  __device__ __forceinline__ float* own_head() const { return head(kRows); }
  __device__ __forceinline__ float* norm(bool of_key) const { return head(kRows + (of_key ? 2 : 1)); }
  __device__ __forceinline__ T* own_key() const { return reinterpret_cast<T*>(shared + plan.own_at); }
  __device__ __forceinline__ float* states() const { return reinterpret_cast<float*>(shared + plan.states_at); }
  __device__ __forceinline__ float* factors() const { return reinterpret_cast<float*>(shared + plan.factors_at); }
  __device__ __forceinline__ float* sums() const { return reinterpret_cast<float*>(shared + plan.sums_at); }
  __device__ __forceinline__ T* place_in_ring(std::uint32_t place) const {
    return reinterpret_cast<T*>(shared + plan.ring_at) + place * 2 * plan.step_keys * dim;
  }

  __device__ __forceinline__ Stretch<T> stretch() const {
    const std::uint32_t position = a.positions[0];
    const gpu::Positions sees = gpu::visible(a, position, position);
    const std::uint32_t keys = std::uint32_t(sees.end - sees.begin);
    const std::uint32_t steps = ((keys + plan.groups - 1) / plan.groups + plan.step_keys - 1) / plan.step_keys;
    const std::uint32_t share = steps * plan.step_keys;
    const std::uint32_t start = min(rank * share, keys), stop = min((rank + 1) * share, keys);
    std::uint32_t own_steps = (stop - start + plan.step_keys - 1) / plan.step_keys;
    settle(own_steps);  // a division, which would sink behind the wait for the kernel before
    return {.keys = reinterpret_cast<const T*>(a.k_cache) + cache,
            .values = reinterpret_cast<const T*>(a.v_cache) + cache,
            .first_slot = std::uint32_t(sees.begin) % a.kv_capacity,
            .capacity = a.kv_capacity,
            .start = start,
            .stop = stop,
            .step_keys = plan.step_keys,
            .steps = own_steps,
            .dim = dim,
            .cached = keys - 1};
  }

  /// By one thread.
  __device__ __forceinline__ void begin(const Stretch<T>& of) const {
#pragma unroll 1
    for (std::uint32_t i = 0; i < plan.stages; ++i)
      stages()[i].full.init(1), stages()[i].empty.init_for_warps(plan.warps);
    gathered().init(1);
    fence_barrier_init();
    gathered().arrive_and_expect(plan.partials * (8 * kRows + 128 * own_chunks));
#pragma unroll 1
    for (std::uint32_t i = 0; i < min(plan.stages, of.steps); ++i) of.copy(i, place_in_ring(i), stages()[i].full);
  }

  __device__ __forceinline__ void load_norms() const {
    const HeadsToCacheArgs& h = problem.heads.heads;
    for (std::uint32_t i = threadIdx.x; i < dim; i += blockDim.x) {
      norm(false)[i] = h.query_norm ? h.query_norm[i] : 1.0f;
      norm(true)[i] = h.key_norm ? h.key_norm[i] : 1.0f;
    }
  }
  /// A query by each of the first warps, the token's own key by the one that `owns` it.
  __device__ __forceinline__ void make_heads(bool owns) const {
    const HeadsToCacheArgs& h = problem.heads.heads;
    const float* const from = warp < rows ? h.query_from + (first_row + warp) * dim : nullptr;
    const Kept query = gpu::load_head<kKept>(t, from, dim, 0.0f),
               key = gpu::load_head<kKept>(t, owns ? h.key_from + kv_head * dim : nullptr, dim, 0.0f),
               value = gpu::load_head<kKept>(t, owns ? h.value + kv_head * dim : nullptr, dim, 0.0f);
#pragma unroll 1
    for (std::uint32_t is_key = warp < rows ? 0 : 1; is_key < (owns ? 2 : 1); ++is_key) {
      Kept row;
#pragma unroll
      for (std::uint32_t j = 0; j < kKept; ++j) row.v[j] = is_key ? key.v[j] : query.v[j];
      gpu::make_head(t, problem.heads, row, (is_key ? h.key_norm : h.query_norm) != nullptr,
                     gpu::load_head<kKept>(t, norm(is_key), dim, 1.0f), true, true, angles(),
                     is_key ? own_head() : head(warp));
    }
    if (!owns) return;
#pragma unroll
    for (std::uint32_t j = 0; j < kKept; ++j) {
      const std::uint32_t i = lane + 32 * j;
      if (i >= dim) continue;
      store_own(i, own_head()[i]);
      store_own(kSlice + i, value.v[j]);
    }
  }
  __device__ __forceinline__ void store_own(std::uint32_t i, float x) const {
    gpu::store_in_cache(reinterpret_cast<std::uint8_t*>(own_key()), i, x, sizeof(T) == 2);
  }
  /// Queries from `first` to `last`. slot: the token's, in the cache.
  __device__ __forceinline__ void store_heads(std::uint64_t slot, bool owns, std::uint32_t first,
                                              std::uint32_t last) const {
    const HeadsToCacheArgs& h = problem.heads.heads;
#pragma unroll 1
    for (std::uint32_t i = lane; i < dim; i += 32) {
#pragma unroll 1
      for (std::uint32_t row = first; row < last && rank == 0; ++row)
        h.query[(first_row + row) * dim + i] = head(row)[i];
      if (!owns || tile > 0) continue;
      h.key[kv_head * dim + i] = own_head()[i];
      reinterpret_cast<T*>(h.k_cache)[slot + i] = own_key()[i];
      reinterpret_cast<T*>(h.v_cache)[slot + i] = own_key()[kSlice + i];
    }
  }

  __device__ __forceinline__ void load_queries(Rows& state) const {
#pragma unroll
    for (std::uint32_t m = 0; m < kRows; ++m) {
      const std::uint32_t row = min(m, rows - 1);
      if constexpr (kMakes)
        state.query[m] = gpu::share_of<kPack, kChunks>(head(row), lane, dim);
      else
        state.query[m] = gpu::load_share<float, kPack, kChunks>(a.query + (first_row + row) * dim, lane, dim);
    }
  }

  /// All keys of the stretch.
  __device__ __forceinline__ void take_keys(Rows& state, const Stretch<T>& of) const {
    std::uint32_t place = 0, parity = 0, before = 0;
    const std::uint32_t steps = of.steps;
#pragma unroll 1
    for (std::uint32_t i = 0; i < steps; ++i) {
      if (threadIdx.x == 0 && i > 0 && i - 1 + plan.stages < steps) {
        stages()[before].empty.await(place == 0 ? parity ^ 1 : parity);
        of.copy(i - 1 + plan.stages, place_in_ring(before), stages()[before].full);
      }
      __syncwarp();
      stages()[place].full.await(parity);
      if (const std::uint32_t first = of.start + i * plan.step_keys + warp * kKeys; first < of.stop) {
        const T* const keys = place_in_ring(place) + warp * kKeys * dim;
        const T* const values = keys + plan.step_keys * dim;
        Share k[kKeys], v[kKeys];
#pragma unroll
        for (std::uint32_t j = 0; j < kKeys; ++j) {
          const bool own = first + j == of.cached;
          k[j] = gpu::share_of<kPack, kChunks>(own ? own_key() : keys + j * dim, lane, dim);
          v[j] = gpu::share_of<kPack, kChunks>(own ? own_key() + kSlice : values + j * dim, lane, dim);
        }
        state.take(t, a, k, v, first, of.stop);
      }
      __syncwarp();
      stages()[place].empty.arrive_as_warp(lane);
      before = place;
      if (++place == plan.stages) place = 0, parity ^= 1;
    }
    state.add_weights(t);
  }

  /// To the groups that add them up, of which there are `receivers`.
  __device__ __forceinline__ void send_rows(const Rows& state) const {
    constexpr std::uint32_t kRowLanes = 32 / kRows;
    const std::uint32_t partial = rank * plan.warps + warp;
    const std::uint32_t receivers = (chunks - 1 >> plan.chunks_log2) + 1, count = 32 * row_chunks;
    const float row_state[2] = {state.row_max, state.weight_sum};
    for (std::uint32_t to = lane % kRowLanes; to < receivers; to += kRowLanes)
      send_pack<2>(states() + 2 * (partial * kRows + lane / kRowLanes), row_state, gathered(), to);
#pragma unroll
    for (std::uint32_t m = 0; m < kRows; ++m) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const std::uint32_t i = (32 * c + lane) * kPack, chunk = m * row_chunks + i / 32;
        if (i >= count) continue;
        const std::uint32_t to = chunk >> plan.chunks_log2, at = chunk - (to << plan.chunks_log2);
        send_pack<kPack>(sums() + ((partial << plan.chunks_log2) + at) * 32 + i % 32, state.sums[m].v + c * kPack,
                         gathered(), to);
      }
    }
  }

  /// A warp for a chunk. The order is that of the partials.
  __device__ __forceinline__ void add_up() const {
    constexpr std::uint32_t kAtOnce = 8;  // the fewest groups times the fewest warps
    const std::uint32_t partials = plan.partials;
    for (std::uint32_t own = warp; own < own_chunks; own += plan.warps) {
      const std::uint32_t chunk = first_chunk + own, m = chunk / row_chunks, i = (chunk - m * row_chunks) * 32 + lane;
      float* const own_factors = factors() + own * partials;
      gathered().await(0);
      if (m >= rows) continue;
      float top = -gpu::infinity(), total = 0.0f, sum = 0.0f;
      for (std::uint32_t p = lane; p < partials; p += 32) top = fmaxf(top, states()[2 * (p * kRows + m)]);
      top = t.simd_max(top);
      for (std::uint32_t p = lane; p < partials; p += 32) {
        const float* const of = states() + 2 * (p * kRows + m);
        const float factor = of[1] == 0.0f ? 0.0f : gpu::exponential(of[0] - top);
        own_factors[p] = factor;
        total = fmaf(of[1], factor, total);
      }
      total = t.simd_sum(total);
      __syncwarp();
      const float* from = sums() + own * 32 + lane;
#pragma unroll 1
      for (std::uint32_t p = 0; p < partials; p += kAtOnce) {
        float factor[kAtOnce], value[kAtOnce];
#pragma unroll
        for (std::uint32_t j = 0; j < kAtOnce; ++j) {
          factor[j] = own_factors[p + j], value[j] = *from;
          settle(value[j]);  // before it is known whether it counts
          from += 32 << plan.chunks_log2;
        }
#pragma unroll
        for (std::uint32_t j = 0; j < kAtOnce; ++j) sum = factor[j] == 0.0f ? sum : fmaf(value[j], factor[j], sum);
      }
      if (i < dim) a.output[(first_row + m) * dim + i] = total == 0.0f ? 0.0f : sum / total;
    }
  }
};

template <class T, int kPack, int kChunks, int kMostRows, class Problem>
__global__ void __maxnreg__(token_registers(kChunks, kMostRows))
    token_kernel(const __grid_constant__ TokenCall<Problem> call) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) std::uint8_t shared[];
  using Group = TokenGroup<T, kPack, kChunks, kMostRows, Problem>;
  const Group group(call, shared);
  allow_next();
  const Stretch<T> stretch = group.stretch();
  if (threadIdx.x == 0) group.begin(stretch);
  __syncwarp();
  arrive_cluster_relaxed();
  // The last warp of the group that has the token's own key makes it.
  const bool owns =
      group.warp == blockDim.x / 32 - 1 && stretch.start <= stretch.cached && stretch.cached < stretch.stop;
  if constexpr (Group::kMakes) {
    group.load_norms();
    gpu::heads_angles(Thread{}, call.problem.heads, 0, group.angles());
  }
  await_cluster();  // the others' barriers are there
  __syncthreads();
  await_previous();
  const std::uint64_t slot = group.cache + std::uint64_t(stretch.slot(stretch.cached)) * group.dim;
  if constexpr (Group::kMakes) {
    group.make_heads(owns);
  } else {
    for (std::uint32_t i = group.lane; i < group.dim && owns; i += 32) {
      group.own_key()[i] = reinterpret_cast<const T*>(group.a.k_cache)[slot + i];
      group.own_key()[Group::kSlice + i] = reinterpret_cast<const T*>(group.a.v_cache)[slot + i];
    }
  }
  __syncthreads();
  if constexpr (Group::kMakes) {
    if (group.warp == call.plan.warps) return group.store_heads(slot, owns, 0, group.rows);
  }
  typename Group::Rows state;
  state.begin();
  group.load_queries(state);
  group.take_keys(state, stretch);
  group.send_rows(state);
  if constexpr (Group::kMakes) {
    const bool has_spare = blockDim.x / 32 > call.plan.warps;
    if (!has_spare) group.store_heads(slot, owns, min(group.warp, group.rows), min(group.warp + 1, group.rows));
  }
  group.add_up();
#endif
}

/// problem_of() makes the kernel's problem of an AttentionProblem. T: of the cache.
template <class T, class Problem>
bool launch_token_as(Launch& on, const AttentionArgs& a, const auto& problem_of, bool reads_new) {
  // Beyond, so many groups as clusters have are slower than splits, sooner where memory has less to do.
  constexpr std::uint32_t kMostKeys = 4096 * sizeof(T);
  const auto caches = reinterpret_cast<std::uintptr_t>(a.k_cache) | reinterpret_cast<std::uintptr_t>(a.v_cache);
  if (!on.machine.hopper || caches % 16 != 0 || a.head_dim * sizeof(T) % 16 != 0 || a.kv_capacity > kMostKeys)
    return false;
  const auto launch = [&]<int kPack, int kChunks, int kMostRows> {
    using Shape = TokenShape<kPack * kChunks, kMostRows>;
    const TokenPlan plan = plan_token<Shape>(a, sizeof(T));
    const TokenCall<Problem> call{problem_of(gpu::AttentionProblem{a, plan.groups}), plan};
    const std::uint64_t units = gpu::tiles(a.n_heads / a.n_kv_heads, Shape::kRows) * a.n_kv_heads;
    const auto is_new = [&](const void* p) { return on.is_new && on.is_new(p); };
    // Where each of the others makes a query.
    const bool makes_key = Problem::kMakesHeads && plan.warps <= Shape::kRows;
    on.start(reinterpret_cast<const void*>(&token_kernel<T, kPack, kChunks, kMostRows, Problem>),
             {.groups = static_cast<std::uint32_t>(units * plan.groups),
              .threads = 32 * (plan.warps + (makes_key ? 1 : 0)),
              .shared_bytes = plan.shared_bytes,
              .cluster = plan.groups},
             &call, !reads_new && !is_new(a.positions) && !is_new(a.k_cache) && !is_new(a.v_cache));
  };
  return gpu::Attention::with_packs<T>(a, [&]<int kPack, int kChunks>(gpu::Attention::Packs<kPack, kChunks>) {
    if constexpr (!Problem::kMakesHeads || 32 * kPack * kChunks <= int(gpu::HeadsShape::kMostDim)) {
      const std::uint32_t group = a.n_heads / a.n_kv_heads;
      if (group == 1)
        launch.template operator()<kPack, kChunks, 1>();
      else if (group == 2)
        launch.template operator()<kPack, kChunks, 2>();
      else
        launch.template operator()<kPack, kChunks, 4>();
    }
  });
}

template <class T>
bool launch_token(Launch& on, const AttentionArgs& a) {
  return launch_token_as<T, gpu::AttentionProblem>(
      on, a, [](const gpu::AttentionProblem& p) { return p; }, false);
}
template <class T>
bool launch_token(Launch& on, const HeadsAttentionArgs& a) {
  const gpu::HeadsProblem heads = gpu::heads_problem(a.heads, 1);
  const auto is_new = [&](const void* p) { return on.is_new && p && on.is_new(p); };
  return launch_token_as<T, gpu::HeadsAttentionProblem>(
      on, gpu::HeadsAttention::attention(a),
      [&](const gpu::AttentionProblem& p) {
        return gpu::HeadsAttentionProblem{p, heads};
      },
      is_new(a.heads.query_norm) || is_new(a.heads.key_norm) || gpu::rotates_by_new(heads, is_new));
}

}  // namespace mlx_native::cuda
