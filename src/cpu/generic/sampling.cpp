#include "args/sampling.h"

#include "core/random.h"
#include "core/sample_weight.h"
#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

constexpr float kInfinity = __builtin_inff();

/// The largest of n numbers; NaN where one of them is.
float largest(const float* x, uint64_t n) {
  Vec best = splat(-kInfinity);
  IntVec bad = {};
  for_each_vector(0, n, [&](uint64_t i, int lanes) {
    const Vec v = lanes == kLanes ? load(x + i) : load_part_or(x + i, lanes, -kInfinity);
    best = max(v, best);
    bad |= v != v;
  });
  for (int lane = 0; lane < kLanes; ++lane)
    if (bad[lane]) return __builtin_nanf("");
  return max_lane(best);
}

uint64_t first_equal(const float* x, float value) {
  uint64_t i = 0;
  while (x[i] != value) ++i;
  return i;
}

void argmax(const ArgmaxArgs& a, Team& team) {
  const Range rows = team.part(a.rows);
  for (uint64_t row = rows.begin; row < rows.end; ++row) {
    const float* const x = a.input + row * a.cols;
    const float best = largest(x, a.cols);
    if (best == best) {
      a.index[row] = uint32_t(first_equal(x, best));
    } else {
      a.index[row] = ~0u;
      __atomic_store_n(a.fault, uint32_t(row) + 1, __ATOMIC_RELAXED);
    }
  }
}

/// The scratch of sample: logits after the penalty, their weights, the heap of candidates; per chunk the largest logit
/// and the sum of weights.
constexpr uint32_t kChunk = 4096;

struct Sampling {
  uint64_t* sums;
  float* logits;
  uint32_t *weights, *heap;
  float* maxima;

  explicit Sampling(const SampleArgs& a) {
    const uint64_t n = a.n_vocab, chunks = chunk_count(a);
    sums = reinterpret_cast<uint64_t*>(a.scratch);
    logits = reinterpret_cast<float*>(sums + chunks);
    weights = reinterpret_cast<uint32_t*>(logits + n);
    heap = weights + n;
    maxima = reinterpret_cast<float*>(heap + n);
  }
  static uint64_t chunk_count(const SampleArgs& a) { return (uint64_t{a.n_vocab} + kChunk - 1) / kChunk; }

  /// Candidate i goes before candidate j.
  K_FN bool before(uint32_t i, uint32_t j) const { return logits[i] > logits[j] || (logits[i] == logits[j] && i < j); }
  void sift_down(uint64_t size, uint64_t at) const {
    for (uint64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && before(heap[child + 1], heap[child])) ++child;
      if (!before(heap[child], heap[at])) return;
      const uint32_t moved = heap[at];
      heap[at] = heap[child];
      heap[child] = moved;
    }
  }
};

std::size_t sample_scratch(const SampleArgs& a) {
  return Sampling::chunk_count(a) * (sizeof(uint64_t) + sizeof(float)) + std::size_t{a.n_vocab} * 3 * sizeof(uint32_t);
}

/// This worker's chunks of the logits after the penalty and their maxima: infinite where one is NaN or +infinite.
void penalize(const SampleArgs& a, const Sampling& s, Range chunks) {
  const uint64_t begin = chunks.begin * kChunk, end = chunks.end * kChunk < a.n_vocab ? chunks.end * kChunk : a.n_vocab;
  for (uint64_t i = begin; i < end; ++i) s.logits[i] = a.logits[i];
  for (uint32_t h = 0; h < a.n_history; ++h)
    if (const uint32_t i = a.history[h]; i >= begin && i < end)
      s.logits[i] = penalized(a.logits[i], a.penalty, a.inverse_penalty);
  for (uint64_t c = chunks.begin; c < chunks.end; ++c) {
    const uint64_t from = c * kChunk, to = from + kChunk < a.n_vocab ? from + kChunk : a.n_vocab;
    s.maxima[c] = largest(s.logits + from, to - from);
    if (s.maxima[c] < kInfinity) continue;
    s.maxima[c] = kInfinity;
    uint64_t bad = from;
    while (s.logits[bad] < kInfinity) ++bad;
    __atomic_store_n(a.fault, uint32_t(bad) + 1, __ATOMIC_RELAXED);
  }
}

void weigh(const SampleArgs& a, const Sampling& s, Range chunks, float top) {
  for (uint64_t c = chunks.begin; c < chunks.end; ++c) {
    const uint64_t from = c * kChunk, to = from + kChunk < a.n_vocab ? from + kChunk : a.n_vocab;
    s.sums[c] = 0;
    for (uint64_t i = from; i < to; ++i) s.sums[c] += s.weights[i] = sample_weight(s.logits[i], top, a.scale);
  }
}

/// The last candidate, in order, that top_k, top_p and min_weight keep. `total` becomes the sum of the kept weights.
uint32_t last_kept(const SampleArgs& a, const Sampling& s, uint64_t& total) {
  uint64_t size = 0;
  for (uint32_t i = 0; i < a.n_vocab; ++i)
    if (s.weights[i]) s.heap[size++] = i;  // the others would add nothing
  for (uint64_t at = size / 2; at-- > 0;) s.sift_down(size, at);
  // Taken candidates are put behind the heap: the first one is at the end.
  const uint64_t candidates = size;
  const auto take = [&] {
    const uint32_t taken = s.heap[0];
    s.heap[0] = s.heap[--size];
    s.heap[size] = taken;
    s.sift_down(size, 0);
    return s.weights[taken];
  };
  const uint64_t most = a.top_k < candidates ? a.top_k : candidates;
  if (most < candidates) {
    total = 0;
    for (uint64_t i = 0; i < most; ++i) total += take();
  }
  const uint64_t enough = top_p_weight(total, a.top_p);
  uint64_t kept = 0;
  for (total = 0; kept < most && (kept == 0 || total < enough); ++kept) {
    if (kept == candidates - size) take();
    total += s.weights[s.heap[candidates - 1 - kept]];
  }
  for (; kept > 1 && s.weights[s.heap[candidates - kept]] < a.min_weight; --kept)
    total -= s.weights[s.heap[candidates - kept]];
  return s.heap[candidates - kept];
}

void sample(const SampleArgs& a, Team& team) {
  const Sampling s(a);
  const uint64_t chunks = Sampling::chunk_count(a);
  const Range mine = team.part(chunks);
  penalize(a, s, mine);
  team.barrier();
  const float top = largest(s.maxima, chunks);
  const bool good = top < kInfinity && top > -kInfinity;
  if (good && a.scale != 0) weigh(a, s, mine, top);
  team.barrier();
  if (team.index() != 0) return;
  if (!good) {
    if (top < kInfinity) *a.fault = ~0u;
    *a.token = ~0u;
    return;
  }
  if (a.scale == 0) {
    *a.token = uint32_t(first_equal(s.logits, top));
    return;
  }
  uint64_t total = 0;
  for (uint64_t c = 0; c < chunks; ++c) total += s.sums[c];
  const uint32_t last = last_kept(a, s, total);
  const uint64_t drawn = scale_bits(random_bits(a.seed, a.step), total);
  uint32_t token = 0;
  for (uint64_t sum = 0;; ++token)
    if (!s.before(last, token) && (sum += s.weights[token]) > drawn) break;
  *a.token = token;
}

}  // namespace

void add_sampling_rows(const RowSink& sink) {
  add<ArgmaxArgs, argmax>(sink, Op::Argmax);
  add<SampleArgs, sample>(sink, Op::Sample, scratch<SampleArgs, sample_scratch>);
}

}  // namespace mlx_native::cpu::MLXN_ISA
