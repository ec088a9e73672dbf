#pragma once

#include "args/fused.h"
#include "gpu/kernels/rms_norm.h"

namespace mlx_native::gpu {

struct AddNormShape {
  K_STATIC int kThreads = 256;
  K_STATIC uint32_t kKept = 16;  // values of a thread: all of the row's
};

/// A row per group; scratch holds one float per simdgroup. Sums are in the order of rms_norm.
template <class Thread>
K_FN void add_norm(Thread t, K_CONST const AddNormArgs& a, K_SHARED float* scratch) {
  constexpr uint32_t kKept = AddNormShape::kKept;
  const uint32_t thread = t.thread_in_group(), threads = t.threads_in_group();
  for (uint64_t row = t.group(); row < a.rows; row += t.groups()) {
    const uint64_t base = row * a.dim;
    float x[kKept], weight[kKept], sum = 0.0f;
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t i = thread + j * threads;
      x[j] = i < a.dim ? a.a[base + i] + a.b[base + i] : 0.0f;
      weight[j] = i < a.dim ? a.weight[i] : 0.0f;
    }
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t i = thread + j * threads;
      if (i < a.dim) a.sum[base + i] = x[j];
      sum = multiply_add(x[j], x[j], sum);
    }
    sum = group_sum(t, sum, scratch);
    const float r = 1.0f / square_root(sum / float(a.dim) + a.eps);
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t i = thread + j * threads;
      if (i < a.dim) a.output[base + i] = x[j] * r * weight[j];
    }
  }
}

}  // namespace mlx_native::gpu
