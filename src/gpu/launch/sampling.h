#pragma once

#include <cstddef>

#include "gpu/kernels/argmax.h"
#include "gpu/kernels/sampling.h"
#include "gpu/launch/grid.h"

namespace mlx_native::gpu {

template <bool kLast>
struct ArgmaxKernel {
  using Args = ArgmaxStep;
  K_STATIC int kThreads = 1024, kScratchBytes = 2 * kThreads / 32 * 4;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    argmax<kLast>(t, a, scratch);
  }
};

struct SamplePenalizeKernel {
  using Args = SampleStep;
  K_STATIC int kThreads = SampleShape::kThreads, kScratchBytes = 2 * kThreads / 32 * 4;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    sample_penalize(t, a, scratch);
  }
};

template <Measure kMeasure>
struct SampleSearchKernel {
  using Args = SampleStep;
  K_STATIC int kThreads = SampleShape::kThreads, kScratchBytes = SampleShape::kScratchBytes;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    sample_search<kMeasure>(t, a, scratch);
  }
};

template <bool kFinal>
struct SampleSumsKernel {
  using Args = SampleStep;
  K_STATIC int kThreads = SampleShape::kThreads, kScratchBytes = kThreads * 12;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    sample_sums<kFinal>(t, a, scratch);
  }
};

struct SampleDrawKernel {
  using Args = SampleStep;
  K_STATIC int kThreads = SampleShape::kThreads, kScratchBytes = kThreads * 12;
  template <class Thread>
  static K_FN void run(Thread t, K_CONST const Args& a, K_SHARED float* scratch) {
    sample_draw(t, a, scratch);
  }
};

struct Argmax {
  using Args = ArgmaxArgs;

  static std::size_t scratch_bytes(const Args& a) {
    return parts(a) == 1 ? 0 : std::size_t{a.rows} * parts(a) * (sizeof(float) + sizeof(std::uint32_t));
  }

  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    const ArgmaxStep step{a, parts(a), kPartCols};
    if (step.parts > 1) on.template run<ArgmaxKernel<false>>(group_count(std::uint64_t{a.rows} * step.parts), step);
    on.template run<ArgmaxKernel<true>>(group_count(a.rows), step);
  }

 private:
  static constexpr std::uint32_t kPartCols = 4096;
  static std::uint32_t parts(const Args& a) { return static_cast<std::uint32_t>(tiles(a.cols, kPartCols)); }
};

/// Kernels of one command follow each other: penalty, weights, the searches that the parameters ask for, the draw.
struct Sample {
  using Args = SampleArgs;

  static std::size_t scratch_bytes(const Args& a) {
    const std::uint64_t chunks = tiles(a.n_vocab, SampleShape::kChunk);
    return (2 * SampleShape::kDigits + 1) * chunks * sizeof(std::uint64_t) +
           2 * (SampleShape::kPasses + 1) * sizeof(SearchState) + std::size_t{a.n_vocab} * sizeof(float) +
           chunks * (sizeof(std::uint32_t) + sizeof(float));
  }

  template <class Launcher>
  static void launch(Launcher& on, const Args& a) {
    const std::uint32_t groups = group_count(tiles(a.n_vocab, SampleShape::kChunk));
    SampleStep step{.sample = a, .pass = 0, .has_top_k = a.top_k < a.n_vocab, .has_top_p = a.top_p < (1u << 24)};
    on.template run<SamplePenalizeKernel>(groups, step);
    if (a.scale != 0) {
      if (step.has_top_k) search<Measure::Count>(on, groups, step);
      if (step.has_top_p) {
        on.template run<SampleSumsKernel<false>>(groups, step);
        search<Measure::Weight>(on, groups, step);
      }
      on.template run<SampleSumsKernel<true>>(groups, step);
    }
    on.template run<SampleDrawKernel>(1, step);
  }

 private:
  template <Measure kMeasure, class Launcher>
  static void search(Launcher& on, std::uint32_t groups, SampleStep step) {
    for (step.pass = 0; step.pass < SampleShape::kPasses; ++step.pass)
      on.template run<SampleSearchKernel<kMeasure>>(groups, step);
  }
};

}  // namespace mlx_native::gpu
