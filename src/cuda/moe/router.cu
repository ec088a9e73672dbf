// A token's logits and its experts. A cluster takes a token: its simdgroups make a logit each, by weights that are on
// their way before x is there; the first of them then chooses among all.
#include "cuda/moe/router.h"
#include "cuda/order.cuh"
#include "cuda/thread.cuh"
#include "cuda/vec/instructions.cuh"
#include "gpu/kernels/mat_vec.h"
#include "gpu/kernels/moe.h"

namespace mlx_native::cuda {

namespace {

constexpr std::uint32_t kGroups = 8, kWarps = 16, kThreads = 32 * kWarps;  // of a cluster, of a group
constexpr std::uint32_t kLoads = 64, kChunk = 32 * kLoads;                 // values of a row that a lane has at a time

/// A lane's values of a chunk of a row; zeros from `count` on.
struct RowChunk {
  float v[kLoads];
  __device__ __forceinline__ void load(const float* row, std::uint32_t count, std::uint32_t lane) {
#pragma unroll
    for (std::uint32_t j = 0; j < kLoads; ++j) v[j] = lane + 32 * j < count ? row[lane + 32 * j] : 0.0f;
  }
};

/// The one simdgroup that works on a token.
struct OneSimdgroup : Thread {
  __device__ std::uint32_t simdgroup() const { return 0; }
  __device__ std::uint32_t simdgroups() const { return 1; }
  __device__ std::uint32_t group() const { return 0; }
  __device__ std::uint32_t groups() const { return 1; }
};

__global__ void __launch_bounds__(kThreads, 1) router_kernel(const __grid_constant__ RouterArgs a) {
  __shared__ float x[kChunk], logits[Router::kMostExperts];
  const MatmulArgs& p = a.product;
  const std::uint32_t lane = threadIdx.x % 32, rank = blockIdx.x % kGroups, token = blockIdx.x / kGroups;
  const std::uint32_t own = rank * kWarps + threadIdx.x / 32;
  const auto row_at = [&](std::uint32_t row) {
    return reinterpret_cast<const float*>(p.weight + min(row, p.n - 1) * p.row_bytes);
  };
  arrive_cluster();  // awaited before the first store to another group: it must have begun
  allow_next();
  RowChunk chunk;
  // A lane adds up its values of a row in their order, as mat_vec (gpu/kernels) does: to the end of kAhead at a time.
  constexpr std::uint32_t kAhead = gpu::MatVecShape::kAhead;
#pragma unroll 1
  for (std::uint32_t first_row = 0; first_row < p.n; first_row += kGroups * kWarps) {
    const std::uint32_t row = first_row + own;
    float sum = 0.0f;
#pragma unroll 1
    for (std::uint32_t first = 0; first < p.k; first += kChunk) {
      if (first_row + first > 0) __syncthreads();
      chunk.load(row_at(row) + first, p.k - first, lane);
      if (first_row + first == 0) await_previous();
      for (std::uint32_t i = threadIdx.x; i < kChunk; i += kThreads)
        x[i] = first + i < p.k ? p.input[std::uint64_t(token) * p.k + first + i] : 0.0f;
      __syncthreads();
#pragma unroll
      for (std::uint32_t j = 0; j < kLoads; ++j)
        if (first + 32 * (j / kAhead * kAhead) < p.k) sum = fmaf(chunk.v[j], x[lane + 32 * j], sum);
    }
    sum = Thread{}.simd_sum(sum);
    if (first_row == 0) await_cluster();
    if (lane == 0 && row < p.n) store_in_cluster(logits + row, 0, sum);
  }
  arrive_cluster();
  await_cluster();
  if (rank != 0) return;
  for (std::uint32_t i = threadIdx.x - 32; threadIdx.x >= 32 && i < p.n; i += kThreads - 32)
    p.output[std::uint64_t(token) * p.n + i] = logits[i];
  if (threadIdx.x >= 32) return;
  MoeSoftmaxTopkArgs topk = a.topk;
  topk.logits = logits, topk.n_tokens = 1;
  topk.ids += token * topk.top_k, topk.weights += token * topk.top_k;
  gpu::moe_softmax_topk(OneSimdgroup{}, topk, nullptr);
}

}  // namespace

void Router::launch(Launch& on, const Args& a) {
  on.start(reinterpret_cast<const void*>(&router_kernel),
           {.groups = kGroups * a.product.m, .threads = kThreads, .cluster = kGroups}, &a,
           !(on.is_new && on.is_new(a.product.weight)));
}

}  // namespace mlx_native::cuda
