// Attention of many tokens: softmax online over tiles of keys, products by mma.sync.
//
// The rows of a KV head, (token, head of the group), are tiles of 128, 16 for each warp, so that heads of a group share
// keys and values. Accuracy is that of f32: queries and softmax weights are two halfs each, as keys and values of an
// F32 cache are (SplitCache), and the product of the two low ones, 2^-22 of the result, is left out.
#pragma once

#include "cuda/attention/families.h"
#include "cuda/attention/split_cache.cuh"
#include "cuda/tensor/mma.cuh"

namespace mlx_native::cuda {

constexpr int kFlashRows = 128, kFlashKeys = 64, kFlashThreads = 256, kFlashStages = 2;

/// kParts: halfs of a key's or value's number.
template <int kDim, int kParts>
struct FlashShape {
  static constexpr int kPitch = 2 * kDim + 16;  // bytes of a row, so that 8 rows begin at different banks
  static constexpr int kArray = kFlashKeys * kPitch;
  static constexpr int kStage = 2 * kParts * kArray + (kParts == 2 ? 2 * kFlashKeys * 4 : 0);
  static constexpr int kQueryAt = kFlashStages * kStage;  // a lane's words of each step of 16 columns, high and low
  static constexpr int kSharedBytes = kQueryAt + 2 * kFlashRows * kDim * 2;
};

__device__ __forceinline__ void load_matrices(std::uint32_t (&to)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void load_transposed(std::uint32_t (&to)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void copy_4(void* to, const void* from, std::uint32_t bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// Over the four lanes of a row.
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/// A group's rows and the keys that any of them sees. Groups whose rows see the most keys come first.
struct FlashWork {
  std::uint32_t heads, kv_head;  // heads: of a KV head
  std::uint64_t first_row, last_row;
  std::uint64_t begin;   // position of the first key
  std::uint32_t length;  // in keys
  gpu::Ring ring;

  __device__ __forceinline__ explicit FlashWork(const AttentionArgs& a) {
    heads = a.n_heads / a.n_kv_heads, kv_head = blockIdx.x % a.n_kv_heads;
    const std::uint64_t rows = std::uint64_t{a.n_tokens} * heads;
    first_row = (gridDim.x / a.n_kv_heads - 1 - blockIdx.x / a.n_kv_heads) * std::uint64_t{kFlashRows};
    last_row = min(first_row + kFlashRows, rows) - 1;
    begin = first_seen(a, a.positions[first_row / heads]);
    const std::uint64_t end = gpu::visible(a, a.positions[last_row / heads]).end;
    length = begin < end ? std::uint32_t(end - begin) : 0;
    ring = {begin, begin % a.kv_capacity, a.kv_capacity};
  }
};

/// A lane's two rows, g and g + 8 of its warp's 16, as mma.sync has them.
struct FlashRows {
  std::uint64_t place[2];                  // of a row's query and output
  std::uint32_t sees_from[2], sees_to[2];  // counted from the first key
  float query_factor[2];
};

/// Fills `rows`, and own_query, in shared memory, with their queries as halfs. own_row: the first of the two.
template <int kDim>
__device__ __forceinline__ void load_queries(const AttentionArgs& a, const FlashWork& work, std::uint64_t own_row,
                                             int t, uint4* own_query, FlashRows& rows) {
  constexpr int kSteps = kDim / 16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const std::uint64_t row = min(own_row + 8 * r, work.last_row), token = row / work.heads;
    rows.place[r] = (token * a.n_heads + work.kv_head * work.heads + row % work.heads) * kDim;
    const gpu::Positions sees = gpu::visible(a, a.positions[token]);
    const bool sees_any = sees.begin < sees.end;
    rows.sees_from[r] = sees_any ? std::uint32_t(sees.begin - work.begin) : 0;
    rows.sees_to[r] = sees_any ? std::uint32_t(sees.end - work.begin) : 0;
    float2 x[kSteps][2];
    float largest = 0;
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        x[k][h] = *reinterpret_cast<const float2*>(a.query + rows.place[r] + 16 * k + 8 * h + 2 * t);
        largest = fmaxf(largest, fmaxf(fabsf(x[k][h].x), fabsf(x[k][h].y)));
      }
    const float scale = scale_of(row_max(largest));
    rows.query_factor[r] = inverse_of_power(scale);
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        std::uint32_t high, low;
        split_pair(x[k][h].x * scale, x[k][h].y * scale, high, low);
        reinterpret_cast<std::uint32_t*>(own_query + 2 * k * 32)[r + 2 * h] = high;
        reinterpret_cast<std::uint32_t*>(own_query + (2 * k + 1) * 32)[r + 2 * h] = low;
      }
  }
}

/// Asks for a tile of keys and values, which come into a stage of shared memory. What is behind the last key becomes 0.
template <int kDim, int kParts>
__device__ __forceinline__ void fetch_tile(const FlashArgs& p, const FlashWork& work, std::uint32_t tile, int stage,
                                           std::uint8_t* shared) {
  using Shape = FlashShape<kDim, kParts>;
  constexpr int kChunks = kDim / 8;
  std::uint8_t* const to = shared + stage * Shape::kStage;
  for (int i = int(threadIdx.x); i < kFlashKeys * kChunks; i += kFlashThreads) {
    const int key = i / kChunks, chunk = i - key * kChunks;
    const std::uint32_t rel = tile * kFlashKeys + key;
    const std::uint32_t bytes = rel < work.length ? 16 : 0;
    const std::uint64_t slot = work.ring.slot(work.begin + min(rel, work.length - 1));
    const std::uint64_t from = (std::uint64_t{work.kv_head} * p.attention.kv_capacity + slot) * kDim + 8 * chunk;
    std::uint8_t* const place_in_array = to + key * Shape::kPitch + 16 * chunk;
    copy_16(place_in_array, p.cache.k_high + from, bytes);
    copy_16(place_in_array + Shape::kArray, p.cache.v_high + from, bytes);
    if constexpr (kParts == 2) {
      copy_16(place_in_array + 2 * Shape::kArray, p.cache.k_low + from, bytes);
      copy_16(place_in_array + 3 * Shape::kArray, p.cache.v_low + from, bytes);
      if (chunk == 0) {
        const std::uint64_t row = std::uint64_t{work.kv_head} * p.attention.kv_capacity + slot;
        std::uint8_t* const factors = to + 4 * Shape::kArray;
        copy_4(factors + 4 * key, p.cache.k_factor + row, bytes / 4);
        copy_4(factors + 4 * (kFlashKeys + key), p.cache.v_factor + row, bytes / 4);
      }
    }
  }
  commit_copies();
}

/// Makes a tile's scores weights. Of each row it knows the largest score and the sum of the weights so far; sum_factor
/// is what its sums of values are to be multiplied by. Values in two halfs have factors (of the tile's keys, then of
/// its values); sums are multiples of the largest of these so far, `unit`.
template <int kParts>
__device__ __forceinline__ void weigh_keys(const AttentionArgs& a, const FlashRows& rows, std::uint32_t first_key,
                                           int lane, int t, const float* factors, float (&score)[kFlashKeys / 8][4],
                                           float (&largest)[2], float (&weights)[2], float& unit,
                                           float (&sum_factor)[2]) {
  constexpr int kTiles = kFlashKeys / 8;
  constexpr float kLog2E = 1.44269504f;
  // Scores in units of log2(e), -infinity where they are not seen.
  float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t key = 8 * n + 2 * t + i % 2, rel = first_key + key;
      float factor = rows.query_factor[i / 2];
      if constexpr (kParts == 2) factor *= factors[key];
      float s = score[n][i] * factor * a.scale;
      if (a.softcap != 0) s = a.softcap * gpu::hyperbolic_tangent(s / a.softcap);
      s = rel >= rows.sees_from[i / 2] && rel < rows.sees_to[i / 2] ? s * kLog2E : -INFINITY;
      score[n][i] = s;
      top[i / 2] = fmaxf(top[i / 2], s);
    }
  float new_unit = unit;
  if constexpr (kParts == 2) {
    new_unit = fmaxf(unit, fmaxf(factors[kFlashKeys + lane], factors[kFlashKeys + 32 + lane]));
    new_unit = __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(new_unit)));
  }
  const float per_unit = inverse_of_power(new_unit);
  float base[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float now = fmaxf(largest[r], row_max(top[r]));
    base[r] = now == -INFINITY ? 0.0f : now;
    const float factor = exp2_of(largest[r] - base[r]);
    largest[r] = now;
    weights[r] *= factor;
    sum_factor[r] = kParts == 2 ? factor * (unit * per_unit) : factor;
  }
  unit = new_unit;
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float weight = exp2_of(score[n][i] - base[i / 2]);
      weights[i / 2] += weight;
      // Not seen: whatever the value is.
      if constexpr (kParts == 2)
        score[n][i] = weight > 0 ? weight * (factors[kFlashKeys + 8 * n + 2 * t + i % 2] * per_unit) : 0.0f;
      else
        score[n][i] = weight;
    }
}

template <int kDim, int kParts>
__device__ __forceinline__ void store_rows(const AttentionArgs& a, const FlashWork& work, std::uint64_t own_row, int t,
                                           const FlashRows& rows, const float (&weights)[2], float unit,
                                           const float (&sums)[kDim / 8][4]) {
  constexpr int kChunks = kDim / 8;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float total = row_sum(weights[r]);
    if (own_row + 8 * r > work.last_row) continue;
    const float factor = total == 0 ? 0.0f : (kParts == 2 ? unit : 1.0f) / total;
#pragma unroll
    for (int n = 0; n < kChunks; ++n)
      *reinterpret_cast<float2*>(a.output + rows.place[r] + 8 * n + 2 * t) =
          make_float2(sums[n][2 * r] * factor, sums[n][2 * r + 1] * factor);
  }
}

template <int kDim, int kParts>
__global__ void __launch_bounds__(kFlashThreads, 1) flash_kernel(const __grid_constant__ FlashArgs p) {
  using Shape = FlashShape<kDim, kParts>;
  constexpr int kSteps = kDim / 16, kTiles = kFlashKeys / 8, kChunks = kDim / 8;
  extern __shared__ __align__(128) std::uint8_t shared[];
  const AttentionArgs& a = p.attention;
  const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32), g = lane / 4, t = lane % 4;
  allow_next();
  await_previous();
  const FlashWork work(a);
  const std::uint64_t own_row = work.first_row + 16 * warp + g;
  uint4* const own_query = reinterpret_cast<uint4*>(shared + Shape::kQueryAt) + warp * 2 * kSteps * 32 + lane;
  FlashRows rows;
  load_queries<kDim>(a, work, own_row, t, own_query, rows);
  float sums[kChunks][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, weights[2] = {0, 0};
  float unit = 0x1p-126f;
  const std::uint32_t tiles = (work.length + kFlashKeys - 1) / kFlashKeys;
  if (tiles > 0) fetch_tile<kDim, kParts>(p, work, 0, 0, shared);
  for (std::uint32_t tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles)
      fetch_tile<kDim, kParts>(p, work, tile + 1, int(tile + 1) % kFlashStages, shared);
    else
      commit_copies();
    await_copies<1>();
    __syncthreads();
    std::uint8_t* const stage = shared + tile % kFlashStages * Shape::kStage;
    const std::uint32_t at = shared_address(stage);
    const auto* const factors = reinterpret_cast<const float*>(stage + 4 * Shape::kArray);

    float score[kTiles][4] = {};
    const std::uint32_t key_at = at + (lane / 16 * 8 + lane % 8) * Shape::kPitch + lane / 8 % 2 * 16;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      std::uint32_t b[kTiles / 2][4];
      const auto load = [&](int array) {
#pragma unroll
        for (int n = 0; n < kTiles / 2; ++n)
          load_matrices(b[n], key_at + array * Shape::kArray + n * 16 * Shape::kPitch + 32 * k);
      };
      const auto multiply = [&](const uint4& query) {
        const std::uint32_t rows_of_query[4] = {query.x, query.y, query.z, query.w};
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
          mma_m16n8k16(score[n], rows_of_query, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
      };
      const uint4 high = own_query[2 * k * 32], low = own_query[(2 * k + 1) * 32];
      load(0);
      multiply(high);
      multiply(low);
      if constexpr (kParts == 2) {
        load(2);
        multiply(high);
      }
    }

    float sum_factor[2];
    weigh_keys<kParts>(a, rows, tile * kFlashKeys, lane, t, factors, score, largest, weights, unit, sum_factor);

    const std::uint32_t value_at = at + Shape::kArray + (lane / 8 % 2 * 8 + lane % 8) * Shape::kPitch + lane / 16 * 16;
    std::uint32_t high[kTiles / 2][4], low[kTiles / 2][4];
#pragma unroll
    for (int k = 0; k < kTiles / 2; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        split_pair(score[2 * k + i / 2][i % 2 * 2], score[2 * k + i / 2][i % 2 * 2 + 1], high[k][i], low[k][i]);
    // The tensor cores cut off what they add: a tile's sums are short, and are added to the others with rounding.
    constexpr int kAtOnce = 4;
#pragma unroll
    for (int first = 0; first < kChunks; first += kAtOnce) {
      float of_tile[kAtOnce][4] = {};
#pragma unroll
      for (int k = 0; k < kTiles / 2; ++k) {
        std::uint32_t b[kAtOnce / 2][4];
        const auto load = [&](int array) {
#pragma unroll
          for (int n = 0; n < kAtOnce; n += 2)
            if (first + n < kChunks)
              load_transposed(b[n / 2], value_at + array * Shape::kArray + k * 16 * Shape::kPitch + 16 * (first + n));
        };
        const auto multiply = [&](const std::uint32_t(&weight)[4]) {
#pragma unroll
          for (int n = 0; n < kAtOnce; ++n)
            if (first + n < kChunks) mma_m16n8k16(of_tile[n], weight, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        };
        load(0);
        multiply(high[k]);
        multiply(low[k]);
        if constexpr (kParts == 2) {
          load(2);
          multiply(high[k]);
        }
      }
#pragma unroll
      for (int n = 0; n < kAtOnce && first + n < kChunks; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[first + n][i] = fmaf(sums[first + n][i], sum_factor[i / 2], of_tile[n][i]);
    }
    __syncthreads();  // the stage is free
  }
  store_rows<kDim, kParts>(a, work, own_row, t, rows, weights, unit, sums);
}

template <int kDim>
void launch_flash(Launch& on, const AttentionArgs& a) {
  const std::uint64_t rows = std::uint64_t{a.n_tokens} * (a.n_heads / a.n_kv_heads);
  const auto groups = std::uint32_t((rows - 1) / kFlashRows + 1) * a.n_kv_heads;
  FlashArgs args{a, SplitCache::in(a)};
  if (a.f16) {
    args.cache.k_high = reinterpret_cast<std::uint16_t*>(const_cast<std::uint8_t*>(a.k_cache));
    args.cache.v_high = reinterpret_cast<std::uint16_t*>(const_cast<std::uint8_t*>(a.v_cache));
    on.start(reinterpret_cast<const void*>(&flash_kernel<kDim, 1>),
             {groups, kFlashThreads, FlashShape<kDim, 1>::kSharedBytes}, &args, true);
    return;
  }
  on.start(reinterpret_cast<const void*>(&split_cache_kernel), {8 * on.machine.multiprocessors, 256}, &args, true);
  on.start(reinterpret_cast<const void*>(&flash_kernel<kDim, 2>),
           {groups, kFlashThreads, FlashShape<kDim, 2>::kSharedBytes}, &args, true);
}

}  // namespace mlx_native::cuda
