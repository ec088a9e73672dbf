// Element by element. Threads of a group take neighbouring elements.
#pragma once

#include "args/elementwise.h"
#include "gpu/kernels/math.h"

namespace mlx_native::gpu {

struct ElementwiseShape {
  K_STATIC int kThreads = 256;
  K_STATIC uint32_t kPerThread = 4;  // loads in flight
  K_STATIC uint32_t kTile = 256 * 4;
};

struct Sum {
  static K_FN float of(float a, float b) { return a + b; }
};
struct Product {
  static K_FN float of(float a, float b) { return a * b; }
};

/// A tile of elements per group, where b is a row for all rows (kBroadcast) of one row of them.
template <class Combine, bool kBroadcast, class Thread>
K_FN void binary(Thread t, K_CONST const BinaryArgs& a, K_SHARED float*) {
  using Shape = ElementwiseShape;
  const uint64_t row_length = kBroadcast ? a.cols : uint64_t(a.rows) * a.cols;
  const uint64_t row_tiles = (row_length - 1) / Shape::kTile + 1, units = kBroadcast ? row_tiles * a.rows : row_tiles;
  for (uint64_t unit = t.group(); unit < units; unit += t.groups()) {
    const uint64_t row = kBroadcast ? unit / row_tiles : 0, first = (unit - row * row_tiles) * Shape::kTile;
    K_UNROLL
    for (uint32_t j = 0; j < Shape::kPerThread; ++j) {
      const uint64_t i = first + j * Shape::kThreads + t.thread_in_group();
      if (i < row_length) a.output[row * row_length + i] = Combine::of(a.a[row * row_length + i], a.b[i]);
    }
  }
}

/// kPerThread values a thread at a time.
template <uint32_t kPerThread, class Thread>
K_FN void silu_mul(Thread t, K_CONST const SiluMulArgs& a, K_SHARED float*) {
  const uint64_t tile = uint64_t(kPerThread) * t.threads_in_group();
  for (uint64_t first = t.group() * tile; first < a.n; first += t.groups() * tile) {
    float gate[kPerThread], up[kPerThread];
    K_UNROLL
    for (uint32_t j = 0; j < kPerThread; ++j) {
      const uint64_t i = first + j * t.threads_in_group() + t.thread_in_group();
      gate[j] = i < a.n ? a.gate[i] : 0.0f;
      up[j] = i < a.n ? a.up[i] : 0.0f;
    }
    K_UNROLL
    for (uint32_t j = 0; j < kPerThread; ++j) {
      const uint64_t i = first + j * t.threads_in_group() + t.thread_in_group();
      if (i < a.n) a.output[i] = silu(gate[j]) * up[j];
    }
  }
}

K_FN float gelu_tanh(float x) {
  constexpr float kTwiceRoot2OverPi = 1.5957691216057308f;
  const float u = kTwiceRoot2OverPi * multiply_add(0.044715f * x * x, x, x);
  return x / (1.0f + exponential(-u));  // 0.5 (1 + tanh(u / 2)) is a sigmoid
}
K_FN float gelu_erf(float x) { return 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f)); }

template <class Thread>
K_FN void gelu(Thread t, K_CONST const GeluArgs& a, K_SHARED float*) {
  const uint64_t stride = uint64_t(t.groups()) * t.threads_in_group();
  for (uint64_t i = uint64_t(t.group()) * t.threads_in_group() + t.thread_in_group(); i < a.n; i += stride)
    a.output[i] = a.erf ? gelu_erf(a.input[i]) : gelu_tanh(a.input[i]);
}

}  // namespace mlx_native::gpu
