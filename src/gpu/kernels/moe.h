// Routing to experts, and the sum of their results.
#pragma once

#include "args/fused.h"
#include "gpu/kernels/math.h"

namespace mlx_native::gpu {

K_TABLE uint32_t kNoIndex = 0xffffffffu;

/// A token per simdgroup. The experts come out one by one, each the largest of those behind the one before.
template <class Thread>
K_FN void moe_softmax_topk(Thread t, K_CONST const MoeSoftmaxTopkArgs& a, K_SHARED float*) {
  const uint64_t stride = uint64_t(t.groups()) * t.simdgroups();
  for (uint64_t token = uint64_t(t.group()) * t.simdgroups() + t.simdgroup(); token < a.n_tokens; token += stride) {
    const K_GLOBAL float* const x = a.logits + token * a.n_experts;
    K_GLOBAL uint32_t* const ids = a.ids + token * a.top_k;
    K_GLOBAL float* const weights = a.weights + token * a.top_k;
    float top = -infinity(), bad = 0.0f;
    for (uint32_t i = t.lane(); i < a.n_experts; i += 32) {
      if (!(x[i] < infinity())) bad = 1.0f;
      top = x[i] > top ? x[i] : top;
    }
    top = t.simd_max(top);
    if (t.simd_max(bad) != 0.0f || top == -infinity()) {
      for (uint32_t s = t.lane(); s < a.top_k; s += 32) {
        ids[s] = kNoIndex;
        weights[s] = quiet_nan();
      }
      continue;
    }
    float sum = 0.0f;
    if (!a.renormalize) {
      for (uint32_t i = t.lane(); i < a.n_experts; i += 32) sum += exponential_of_difference(x[i], top);
      sum = t.simd_sum(sum);
    }
    float last = infinity(), lost = 0.0f;
    uint32_t last_index = 0;
    for (uint32_t s = 0; s < a.top_k; ++s) {
      float best = -infinity();
      uint32_t index = kNoIndex;
      for (uint32_t i = t.lane(); i < a.n_experts; i += 32)
        if ((x[i] < last || (x[i] == last && i > last_index)) && (index == kNoIndex || x[i] > best)) {
          best = x[i];
          index = i;
        }
      last = t.simd_max(best);
      last_index = t.simd_min(best == last ? index : kNoIndex);
      const float weight = exponential_of_difference(last, top);
      if (a.renormalize) {
        const TwoFloats both = exact_sum(sum, weight);
        sum = both.high;
        lost += both.low;
      }
      if (t.lane() == s % 32) {
        ids[s] = last_index;
        weights[s] = weight;
      }
    }
    // Every lane divides what it wrote.
    for (uint32_t s = t.lane(); s < a.top_k; s += 32) weights[s] = weights[s] / (sum + lost);
  }
}

/// A tile of a token's values per group.
template <class Thread>
K_FN void moe_weighted_reduce(Thread t, K_CONST const MoeReduceAddArgs& p, K_SHARED float*) {
  K_CONST const MoeWeightedReduceArgs& a = p.reduce;
  const uint32_t row_tiles = (a.dim - 1) / t.threads_in_group() + 1;
  const uint64_t units = uint64_t(a.n_tokens) * row_tiles;
  for (uint64_t unit = t.group(); unit < units; unit += t.groups()) {
    const uint64_t token = unit / row_tiles;
    const uint32_t i = uint32_t(unit - token * row_tiles) * t.threads_in_group() + t.thread_in_group();
    if (i >= a.dim) continue;
    const uint64_t at = token * a.dim + i;
    const float residual = p.sum ? p.residual[at] : 0.0f;
    const K_GLOBAL float* const column = a.experts + token * a.top_k * a.dim + i;
    float sum = 0.0f;
    for (uint64_t s = 0; s < a.top_k; ++s) sum = multiply_add(a.weights[token * a.top_k + s], column[s * a.dim], sum);
    a.output[at] = sum;
    if (p.sum) p.sum[at] = residual + sum;
  }
}

}  // namespace mlx_native::gpu
