#pragma once

#include "args/fused.h"
#include "gpu/kernels/rms_norm.h"

namespace mlx_native::gpu {

struct AddNormShape {
  K_STATIC int kThreads = 256;
  K_STATIC uint32_t kKept = 16;  // values of a thread: all of the row's
};

/// A row per group; scratch holds one float per simdgroup. Sums are in the order of rms_norm of rows that it sums by
/// group.
template <class Thread>
K_FN void add_norm(Thread t, K_CONST const AddNormArgs& a, K_SHARED float* scratch) {
  constexpr uint32_t kKept = AddNormShape::kKept, kThreads = AddNormShape::kThreads;
  const uint32_t thread = t.thread_in_group();
  for (uint64_t row = t.group(); row < a.rows; row += t.groups()) {
    const uint64_t own = row * a.dim + thread;
    const K_GLOBAL float* const from_a = a.a + own;
    const K_GLOBAL float* const from_b = a.b + own;
    const K_GLOBAL float* const from_weight = a.weight + thread;
    K_GLOBAL float* const to_sum = a.sum + own;
    K_GLOBAL float* const to = a.output + own;
    float x[kKept], weight[kKept], sum = 0.0f;
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t at = j * kThreads;
      x[j] = thread + at < a.dim ? from_a[at] + from_b[at] : 0.0f;
      weight[j] = thread + at < a.dim ? from_weight[at] : 0.0f;
    }
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t at = j * kThreads;
      if (thread + at < a.dim) to_sum[at] = x[j];
      sum = multiply_add(x[j], x[j], sum);
    }
    sum = group_sum(t, sum, scratch);
    const float r = 1.0f / square_root(sum / float(a.dim) + a.eps);
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t at = j * kThreads;
      if (thread + at < a.dim) to[at] = x[j] * r * weight[j];
    }
  }
}

}  // namespace mlx_native::gpu
