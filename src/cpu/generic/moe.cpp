#include "args/moe.h"

#include <math.h>

#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

/// Whether a softmax of x exists: no NaN, nothing infinite above, something finite.
bool has_softmax(const float* x, uint32_t n) {
  bool finite = false;
  for (uint32_t i = 0; i < n; ++i) {
    if (!(x[i] < __builtin_inff())) return false;
    finite |= x[i] > -__builtin_inff();
  }
  return finite;
}

constexpr uint32_t kNone = ~0u;

/// The largest after `last` in descending order, of equals the lowest index first; kNone: the first of all. There is
/// one.
uint32_t next_largest(const float* x, uint32_t n, uint32_t last) {
  const float previous = last == kNone ? __builtin_inff() : x[last];
  Vec best = splat(-__builtin_inff());
  IntVec index;
  for (int lane = 0; lane < kLanes; ++lane) index[lane] = lane;
  for_each_vector(0, n, [&](uint64_t i, int lanes) {
    const Vec v = lanes == kLanes ? load(x + i) : load_part_or(x + i, lanes, __builtin_nanf(""));
    const IntVec later = index > splat_int(int32_t(last)), comes = (v < previous) | ((v == previous) & later);
    best = max(comes ? v : splat(__builtin_nanf("")), best);
    index += kLanes;
  });
  const float value = max_lane(best);
  uint32_t at = value == previous ? last + 1 : 0;
  while (x[at] != value) ++at;
  return at;
}

void moe_softmax_topk(const MoeSoftmaxTopkArgs& a, Team& team) {
  const Range tokens = team.part(a.n_tokens);
  for (uint64_t t = tokens.begin; t < tokens.end; ++t) {
    const float* const x = a.logits + t * a.n_experts;
    uint32_t* const ids = a.ids + t * a.top_k;
    float* const weights = a.weights + t * a.top_k;
    const bool good = has_softmax(x, a.n_experts);
    for (uint32_t s = 0; s < a.top_k; ++s) ids[s] = good ? next_largest(x, a.n_experts, s ? ids[s - 1] : kNone) : kNone;
    if (!good) {
      for (uint32_t s = 0; s < a.top_k; ++s) weights[s] = __builtin_nanf("");
      continue;
    }
    const auto weight = [&](uint32_t expert) { return ::exp(double(x[expert]) - double(x[ids[0]])); };
    double sum = 0;
    for (uint32_t s = 0; s < a.top_k; ++s) sum += weights[s] = float(weight(ids[s]));
    if (!a.renormalize) {
      sum = 0;
      for (uint32_t i = 0; i < a.n_experts; ++i) sum += weight(i);
    }
    for (uint32_t s = 0; s < a.top_k; ++s) weights[s] = float(weights[s] / sum);
  }
}

void moe_weighted_reduce(const MoeWeightedReduceArgs& a, Team& team) {
  const Range part = team.part(uint64_t{a.n_tokens} * a.dim, 256);
  for (uint64_t i = part.begin; i < part.end;) {
    const uint64_t token = i / a.dim, row_end = (token + 1) * a.dim, end = row_end < part.end ? row_end : part.end;
    const float* const weights = a.weights + token * a.top_k;
    for_each_vector(i, end, [&](uint64_t at, int n) {
      const float* const column = a.experts + token * a.top_k * a.dim + (at - token * a.dim);
      Vec sum = {};
      for (uint64_t s = 0; s < a.top_k; ++s) sum = fma(splat(weights[s]), load_n(column + s * a.dim, n), sum);
      store_n(a.output + at, sum, n);
    });
    i = end;
  }
}

uint64_t values_of_topk(const MoeSoftmaxTopkArgs& a) { return uint64_t{a.n_tokens} * a.n_experts * a.top_k; }
uint64_t values_of_reduce(const MoeWeightedReduceArgs& a) { return uint64_t{a.n_tokens} * a.top_k * a.dim; }

}  // namespace

void add_moe_rows(const RowSink& sink) {
  add_brief<MoeSoftmaxTopkArgs, moe_softmax_topk, values_of_topk>(sink, Op::MoeSoftmaxTopk);
  add_brief<MoeWeightedReduceArgs, moe_weighted_reduce, values_of_reduce>(sink, Op::MoeWeightedReduce);
}

}  // namespace mlx_native::cpu::MLXN_ISA
