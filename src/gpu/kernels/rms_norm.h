#pragma once

#include "args/norm.h"

namespace mlx_native::gpu {

/// Who makes a norm inside another kernel sums as rms_norm does: up to this many values of a row by one simdgroup,
/// which is then as fast as eight and needs no barrier.
struct RmsNormShape {
  K_STATIC uint32_t kMostOfSimdgroup = 512;
};

/// The sum over a group, in every thread of it. Scratch: a float per simdgroup.
template <class Thread>
K_FN float group_sum(Thread t, float x, K_SHARED float* scratch) {
  x = t.simd_sum(x);
  if (t.lane() == 0) scratch[t.simdgroup()] = x;
  t.barrier();
  x = t.simd_sum(t.lane() < t.simdgroups() ? scratch[t.lane()] : 0.0f);
  t.barrier();
  return x;
}

/// A row per simdgroup, or, for long rows, per group; then scratch holds one float per simdgroup.
template <bool kGroupPerRow, class Thread>
K_FN void rms_norm(Thread t, K_CONST const RmsNormArgs& a, K_SHARED float* scratch) {
  const uint32_t lanes = kGroupPerRow ? t.threads_in_group() : 32;
  const uint32_t lane = kGroupPerRow ? t.thread_in_group() : t.lane();
  const uint32_t rows_per_group = kGroupPerRow ? 1 : t.simdgroups();
  constexpr uint32_t kKept = 16;  // values and weights of a thread that are read once, all at the same time
  for (uint64_t base = uint64_t(t.group()) * rows_per_group; base < a.rows;
       base += uint64_t(t.groups()) * rows_per_group) {
    const uint64_t row = kGroupPerRow ? base : base + t.simdgroup();
    if (row >= a.rows) continue;
    const K_GLOBAL float* const x = a.input + row * a.dim;
    K_GLOBAL float* const y = a.output + row * a.dim;
    float sum = 0.0f, kept[kKept], weight[kKept];
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t i = lane + j * lanes;
      kept[j] = i < a.dim ? x[i] : 0.0f;
      weight[j] = i < a.dim ? a.weight[i] : 0.0f;
    }
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) sum = multiply_add(kept[j], kept[j], sum);
    for (uint32_t i = lane + kKept * lanes; i < a.dim; i += lanes) sum = multiply_add(x[i], x[i], sum);
    if constexpr (kGroupPerRow)
      sum = group_sum(t, sum, scratch);
    else
      sum = t.simd_sum(sum);
    const float r = 1.0f / square_root(sum / float(a.dim) + a.eps);
    K_UNROLL
    for (uint32_t j = 0; j < kKept; ++j) {
      const uint32_t i = lane + j * lanes;
      if (i < a.dim) y[i] = kept[j] * r * weight[j];
    }
    for (uint32_t i = lane + kKept * lanes; i < a.dim; i += lanes) y[i] = x[i] * r * a.weight[i];
  }
}

}  // namespace mlx_native::gpu
