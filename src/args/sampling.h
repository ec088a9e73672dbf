#pragma once

#include "core/dialect.h"

namespace mlx_native {

// `fault` stays 0 unless the kernel meets a value that the op calls an error; it then holds 1 + the row, of several
// rows any one.

struct ArgmaxArgs {
  const K_GLOBAL float* input;
  K_GLOBAL uint32_t* index;
  K_GLOBAL uint32_t* fault;
  K_GLOBAL uint8_t* scratch;  // as many bytes as the kernel asked for
  uint32_t rows, cols;
};

/// 1. logit[i] becomes penalized(logit[i], ...) (core/sample_weight.h) for every i that occurs in history, once.
/// 2. A logit that is then NaN or +infinite: fault = 1 + its index, of several any one. No finite logit: fault =
///    UINT32_MAX. In both cases token = UINT32_MAX, and nothing more.
/// 3. scale == 0: token = the largest logit, of equals the lowest index, and nothing more.
/// 4. weight[i] = sample_weight(logit[i], the largest logit, scale). Candidates are ordered by logit, the largest
///    first, of equals the lowest index first. Keep the first top_k of them; with their sum S, the fewest, at least
///    one, whose sum is >= top_p_weight(S, top_p); of these, those of weight >= min_weight.
/// 5. With r = scale_bits(random_bits(seed, step), sum of the kept) (core/random.h): token = the first kept index, in
///    ascending order of indices, where the running sum of kept weights is > r.
struct SampleArgs {
  const K_GLOBAL float* logits;
  const K_GLOBAL uint32_t* history;  // entries >= n_vocab are ignored; null where n_history is 0
  K_GLOBAL uint32_t* token;
  K_GLOBAL uint32_t* fault;
  K_GLOBAL uint8_t* scratch;
  uint64_t seed, step;
  uint32_t n_vocab, n_history;
  uint32_t top_k;       // 1 to n_vocab
  uint32_t top_p;       // 1 to kTopPOne, in 2^-24
  uint32_t min_weight;  // 0 to kSampleWeightOne, in 2^-31
  float penalty, inverse_penalty;
  float scale;  // of sample_weight; 0: greedy
};

}  // namespace mlx_native
