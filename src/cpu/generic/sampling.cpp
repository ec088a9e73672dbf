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

/// Candidates are numbers of tokens. Those of one bin have about the same weight: its exponent and three more bits. All
/// of a higher bin come before all of a lower one, since weights fall with falling logits; so a bin tells which
/// candidates are kept, but for the one bin through which the border goes.
constexpr uint32_t kChunk = 4096, kBins = 256;

/// Vocabularies are cut into chunks, the same for any number of threads. What is known of one:
struct ChunkState {
  float largest;
  uint64_t sum;             ///< of weights
  uint64_t weights[kBins];  ///< of the candidates of each bin, the sum
  uint32_t counts[kBins];
};

/// sample_weight() of kLanes logits, bit for bit.
K_FN UIntVec sample_weights(Vec logits, float largest_logit, float scale) {
  const Vec z = (largest_logit - logits) * scale;
  const IntVec small = z < 0x1p31f;
  const UIntVec fixed = reinterpret_cast<UIntVec>(to_int(small ? z : Vec{}));
  const WideVec halvings = __builtin_convertvector(fixed >> 26, WideVec);
  const WideVec g = __builtin_convertvector((1u << 26) - (fixed & ((1u << 26) - 1u)), WideVec);
  WideVec p = kSampleWeightPolynomial[0] - WideVec{};
  MLXN_UNROLL
  for (int i = 1; i < 7; ++i) p = kSampleWeightPolynomial[i] + (p * g >> 26);
  return __builtin_convertvector(p >> halvings, UIntVec) & reinterpret_cast<UIntVec>(small);
}

struct Sampling {
  const SampleArgs& a;
  uint64_t chunks;
  ChunkState* chunk;
  float* logits;      // after the penalty
  uint32_t* weights;  // of chunks in whole vectors
  uint32_t* heap;

  explicit Sampling(const SampleArgs& args) : a(args), chunks(chunk_count(args)) {
    chunk = reinterpret_cast<ChunkState*>(a.scratch);
    logits = reinterpret_cast<float*>(chunk + chunks);
    weights = reinterpret_cast<uint32_t*>(logits + chunks * kChunk);
    heap = weights + chunks * kChunk;
  }
  static uint64_t chunk_count(const SampleArgs& a) { return (uint64_t{a.n_vocab} + kChunk - 1) / kChunk; }
  static std::size_t bytes(const SampleArgs& a) {
    return chunk_count(a) * (sizeof(ChunkState) + 3 * kChunk * sizeof(uint32_t));
  }
  Range tokens(uint64_t c) const {
    return {c * kChunk, (c + 1) * kChunk < a.n_vocab ? (c + 1) * kChunk : uint64_t{a.n_vocab}};
  }
  static K_FN uint32_t bin(uint32_t weight) { return weight ? (float_to_bits(float(weight)) >> 20) - (127u << 3) : 0; }
  /// Candidate i goes before candidate j.
  K_FN bool before(uint32_t i, uint32_t j) const { return logits[i] > logits[j] || (logits[i] == logits[j] && i < j); }

  /// The logits of a chunk after the penalty, and the largest: infinite where one is NaN or +infinite.
  void penalize(uint64_t c) const {
    const Range range = tokens(c);
    for (uint64_t i = range.begin; i < range.end; ++i) logits[i] = a.logits[i];
    for (uint32_t h = 0; h < a.n_history; ++h)
      if (const uint32_t i = a.history[h]; i >= range.begin && i < range.end)
        logits[i] = penalized(a.logits[i], a.penalty, a.inverse_penalty);
    float& top = chunk[c].largest;
    top = largest(logits + range.begin, range.end - range.begin);
    if (top < kInfinity) return;
    top = kInfinity;
    uint64_t bad = range.begin;
    while (logits[bad] < kInfinity) ++bad;
    __atomic_store_n(a.fault, uint32_t(bad) + 1, __ATOMIC_RELAXED);
  }

  void weigh(uint64_t c, float top) const {
    ChunkState& state = chunk[c];
    for (uint32_t i = 0; i < kBins; ++i) state.weights[i] = state.counts[i] = 0;
    const Range range = tokens(c);
    for_each_vector(range.begin, range.end, [&](uint64_t i, int n) {
      const UIntVec w =
          sample_weights(n == kLanes ? load(logits + i) : load_part_or(logits + i, n, -kInfinity), top, a.scale);
      __builtin_memcpy(weights + i, &w, sizeof w);
    });
    state.sum = 0;
    for (uint64_t i = range.begin; i < range.end; ++i) {
      const uint32_t w = weights[i], b = bin(w);
      state.weights[b] += w;
      state.counts[b] += w != 0;
      state.sum += w;
    }
  }

  void sift_down(uint64_t size, uint64_t at) const {
    for (uint64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && before(heap[child + 1], heap[child])) ++child;
      if (!before(heap[child], heap[at])) return;
      const uint32_t moved = heap[at];
      heap[at] = heap[child];
      heap[child] = moved;
    }
  }

  /// Calls visit(candidate) for those of a chunk that are in a bin, in order of their numbers.
  template <class Visit>
  K_FN void for_each_in(uint64_t c, uint32_t which, const Visit& visit) const {
    if (chunk[c].counts[which] == 0) return;
    const Range range = tokens(c);
    for (uint64_t i = range.begin; i < range.end; i += kLanes) {
      UIntVec w;
      __builtin_memcpy(&w, weights + i, sizeof w);
      const IntVec hit = (float_as_bits(__builtin_convertvector(w, Vec)) >> 20) == int32_t(which + (127u << 3));
      uint64_t pairs[kLanes / 2], any = 0;
      __builtin_memcpy(pairs, &hit, sizeof hit);
      for (const uint64_t pair : pairs) any |= pair;
      if (any == 0) continue;
      for (uint64_t at = i; at < i + kLanes && at < range.end; ++at)
        if (weights[at] != 0 && bin(weights[at]) == which) visit(uint32_t(at));
    }
  }

  /// What is kept: all candidates of higher bins, and of this one those of at least `least` weight that do not come
  /// after `last`.
  struct Border {
    uint32_t bin = 0, least = 1, last = kNone;
  };
  static constexpr uint32_t kNone = ~0u;

  K_FN bool keeps(const Border& border, uint32_t i) const {
    const uint32_t w = weights[i];
    if (w == 0 || bin(w) != border.bin) return w != 0 && bin(w) > border.bin;
    return w >= border.least && (border.last == kNone || !before(border.last, i));
  }

  /// The border behind the first candidates, in order, whose `measure` (of a candidate: 1 or its weight) adds up to
  /// `target`; all candidates where they do not. `sum` becomes the sum of their weights.
  template <class OfBin, class OfCandidate>
  Border find(uint64_t target, const OfBin& of_bin, const OfCandidate& of_candidate, uint64_t& sum) const {
    uint64_t measure = 0;
    sum = 0;
    for (uint32_t b = kBins; b-- > 0;) {
      uint64_t in_bin = 0, weight = 0;
      for (uint64_t c = 0; c < chunks; ++c) {
        in_bin += of_bin(chunk[c], b);
        weight += chunk[c].weights[b];
      }
      if (measure + in_bin < target) {
        measure += in_bin;
        sum += weight;
        continue;
      }
      uint64_t size = 0;
      for (uint64_t c = 0; c < chunks; ++c) for_each_in(c, b, [&](uint32_t i) { heap[size++] = i; });
      for (uint64_t at = size / 2; at-- > 0;) sift_down(size, at);
      for (;;) {
        const uint32_t taken = heap[0];
        measure += of_candidate(taken);
        sum += weights[taken];
        if (measure >= target) return {b, 1, taken};
        heap[0] = heap[--size];
        sift_down(size, 0);
      }
    }
    return {};
  }

  Border border() const {
    uint64_t sum = 0;
    for (uint64_t c = 0; c < chunks; ++c) sum += chunk[c].sum;
    Border result;
    const auto weight_of = [&](uint32_t i) { return uint64_t{weights[i]}; };
    if (a.top_k < a.n_vocab)
      result = find(
          a.top_k, [](const ChunkState& s, uint32_t b) { return uint64_t{s.counts[b]}; },
          [](uint32_t) { return uint64_t{1}; }, sum);
    if (a.top_p < kTopPOne) {
      const uint64_t enough = top_p_weight(sum, a.top_p);
      result = find(
          enough ? enough : 1, [](const ChunkState& s, uint32_t b) { return s.weights[b]; }, weight_of, sum);
    }
    if (a.min_weight > 1 && (result.last == kNone || weights[result.last] < a.min_weight))
      result = {bin(a.min_weight), a.min_weight, kNone};
    return result;
  }

  /// What a chunk keeps.
  uint64_t kept(const Border& border, uint64_t c) const {
    uint64_t sum = 0;
    for (uint32_t b = kBins; --b > border.bin;) sum += chunk[c].weights[b];
    for_each_in(c, border.bin, [&](uint32_t i) { sum += keeps(border, i) ? weights[i] : 0; });
    return sum;
  }

  uint32_t first_of(float logit) const {
    uint64_t c = 0;
    while (chunk[c].largest != logit) ++c;
    return uint32_t(tokens(c).begin + first_equal(logits + tokens(c).begin, logit));
  }

  uint32_t draw() const {
    const Border kept_to = border();
    uint64_t total = 0;
    for (uint64_t c = 0; c < chunks; ++c) total += chunk[c].sum = kept(kept_to, c);
    uint64_t left = scale_bits(random_bits(a.seed, a.step), total), c = 0;
    for (; chunk[c].sum <= left; ++c) left -= chunk[c].sum;
    uint32_t token = uint32_t(tokens(c).begin);
    for (uint64_t sum = 0;; ++token)
      if (keeps(kept_to, token) && (sum += weights[token]) > left) return token;
  }
};

void sample(const SampleArgs& a, Team& team) {
  const Sampling s(a);
  const Range mine = team.part(s.chunks);
  for (uint64_t c = mine.begin; c < mine.end; ++c) s.penalize(c);
  team.barrier();
  float top = s.chunk[0].largest;
  for (uint64_t c = 1; c < s.chunks; ++c) top = s.chunk[c].largest > top ? s.chunk[c].largest : top;
  const bool good = top < kInfinity && top > -kInfinity;
  if (good && a.scale != 0)
    for (uint64_t c = mine.begin; c < mine.end; ++c) s.weigh(c, top);
  team.barrier();
  if (team.index() != 0) return;
  if (!good) {
    if (top < kInfinity) *a.fault = ~0u;
    *a.token = ~0u;
    return;
  }
  *a.token = a.scale == 0 ? s.first_of(top) : s.draw();
}

}  // namespace

void add_sampling_rows(const RowSink& sink) {
  add<ArgmaxArgs, argmax>(sink, Op::Argmax);
  add<SampleArgs, sample>(sink, Op::Sample, scratch<SampleArgs, Sampling::bytes>);
}

}  // namespace mlx_native::cpu::MLXN_ISA
