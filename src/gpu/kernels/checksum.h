// Sums of words, and nothing else: as fast as memory can be read.
#pragma once

#include "args/checksum.h"
#include "core/dialect.h"

namespace mlx_native::gpu {

struct ChecksumShape {
  K_STATIC int kThreads = 256;
  K_STATIC uint32_t kInFlight = 16;  // loads of a thread
};

/// A part a group. Scratch: a word a thread.
template <class Thread>
K_FN void checksum(Thread t, K_CONST const ChecksumArgs& a, K_SHARED uint32_t* scratch) {
  using Shape = ChecksumShape;
  const uint64_t parts = (a.n_words - 1) / a.part + 1;
  const uint32_t thread = t.thread_in_group();
  for (uint64_t part = t.group(); part < parts; part += t.groups()) {
    const uint64_t first = part * a.part, left = a.n_words - first;
    const uint32_t count = left < a.part ? uint32_t(left) : a.part;
    uint32_t sum = 0;
    for (uint32_t from = thread; from < count; from += Shape::kThreads * Shape::kInFlight) {
      uint32_t word[Shape::kInFlight];
      K_UNROLL
      for (uint32_t j = 0; j < Shape::kInFlight; ++j) {
        const uint32_t i = from + j * Shape::kThreads;
        word[j] = i < count ? a.words[first + i] : 0;
      }
      K_UNROLL
      for (uint32_t j = 0; j < Shape::kInFlight; ++j) sum += word[j];
    }
    scratch[thread] = sum;
    for (uint32_t half = Shape::kThreads / 2; half > 0; half /= 2) {
      t.barrier();
      if (thread < half) scratch[thread] += scratch[thread + half];
    }
    if (thread == 0) a.sums[part] = scratch[0];
    t.barrier();
  }
}

}  // namespace mlx_native::gpu
