// Sampling (args/sampling.h defines its steps). What is kept of a vocabulary is a threshold: all candidates above some
// logit, and some of those equal to it, by index. A radix search finds it, digit by digit: groups sum counts or weights
// of their chunks by digit, and the next kernel adds the groups' sums, picks the digit and goes on below it. All sums
// are of integers.
#pragma once

#include "args/sampling.h"
#include "core/random.h"
#include "core/sample_weight.h"
#include "gpu/kernels/argmax.h"
#include "gpu/kernels/math.h"

namespace mlx_native::gpu {

struct SampleShape {
  K_STATIC int kThreads = 256;
  K_STATIC uint32_t kChunk = 4096;  // candidates of a group
  K_STATIC uint32_t kDigits = 16, kPasses = 8;
  K_STATIC int kScratchBytes = 256 * 16 * 8;  // a column of digits per thread
};

/// The arguments of every kernel here.
struct SampleStep {
  SampleArgs sample;
  uint32_t pass;                  // of a search
  uint32_t has_top_k, has_top_p;  // whether they leave anything out
};

/// A search finds the highest threshold whose candidates, those equal to it included, amount to a target, in this.
enum class Measure { Count, Weight };

struct SearchState {
  uint64_t needed;  // still, of candidates whose first digits are `prefix`
  uint32_t prefix, unused;
};

/// The places in args.scratch.
struct SampleMemory {
  K_GLOBAL uint64_t* bins;       // [2, kDigits, chunks]
  K_GLOBAL uint64_t* sums;       // [chunks] of kept weights above the threshold
  K_GLOBAL SearchState* states;  // [2, kPasses + 1]
  K_GLOBAL float* logits;        // [n_vocab] after the penalty
  K_GLOBAL uint32_t* ties;       // [chunks] candidates that equal the threshold
  K_GLOBAL float* maxima;        // [chunks]; infinite: a logit is NaN or infinite
  uint64_t chunks;
};

K_FN SampleMemory sample_memory(K_CONST const SampleArgs& a) {
  const uint64_t chunks = (uint64_t(a.n_vocab) - 1) / SampleShape::kChunk + 1;
  SampleMemory m;
  m.bins = reinterpret_cast<K_GLOBAL uint64_t*>(a.scratch);
  m.sums = m.bins + 2 * SampleShape::kDigits * chunks;
  m.states = reinterpret_cast<K_GLOBAL SearchState*>(m.sums + chunks);
  m.logits = reinterpret_cast<K_GLOBAL float*>(m.states + 2 * (SampleShape::kPasses + 1));
  m.ties = reinterpret_cast<K_GLOBAL uint32_t*>(m.logits + a.n_vocab);
  m.maxima = reinterpret_cast<K_GLOBAL float*>(m.ties + chunks);
  m.chunks = chunks;
  return m;
}

struct Chunk {
  uint64_t begin, end;
};
K_FN Chunk chunk_of(K_CONST const SampleArgs& a, uint64_t index) {
  const uint64_t begin = index * SampleShape::kChunk, end = begin + SampleShape::kChunk;
  return {begin, end < a.n_vocab ? end : a.n_vocab};
}

/// A number that orders as the logit does; both zeros are one.
K_FN uint32_t rank(float logit) {
  const uint32_t bits = float_to_bits(logit + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
K_FN float logit_of(uint32_t rank) { return bits_to_float(rank >> 31 ? rank & 0x7fffffffu : ~rank); }

K_FN float largest_logit(SampleMemory m) {
  float top = -infinity();
  for (uint64_t c = 0; c < m.chunks; ++c) top = m.maxima[c] > top ? m.maxima[c] : top;
  return top;
}

/// Step 1 and 2 of the definition, a chunk per group.
template <class Thread>
K_FN void sample_penalize(Thread t, K_CONST const SampleStep& p, K_SHARED float* scratch) {
  K_CONST const SampleArgs& a = p.sample;
  const SampleMemory m = sample_memory(a);
  for (uint64_t c = t.group(); c < m.chunks; c += t.groups()) {
    const Chunk chunk = chunk_of(a, c);
    for (uint64_t i = chunk.begin + t.thread_in_group(); i < chunk.end; i += t.threads_in_group())
      m.logits[i] = a.logits[i];
    t.barrier();
    K_GLOBAL uint32_t* const words = reinterpret_cast<K_GLOBAL uint32_t*>(m.logits);
    for (uint32_t h = t.thread_in_group(); h < a.n_history; h += t.threads_in_group()) {
      const uint32_t i = a.history[h];
      if (i >= chunk.begin && i < chunk.end)
        store_word(words + i, float_to_bits(penalized(a.logits[i], a.penalty, a.inverse_penalty)));
    }
    t.barrier();
    float best = -infinity();
    for (uint64_t i = chunk.begin + t.thread_in_group(); i < chunk.end; i += t.threads_in_group()) {
      const float logit = m.logits[i];
      if (!(logit < infinity())) store_word(a.fault, uint32_t(i) + 1);
      best = !(logit < infinity()) ? infinity() : logit > best ? logit : best;
    }
    best = group_best(t, {best, 0}, scratch).value;
    if (t.thread_in_group() == 0) m.maxima[c] = best;
  }
}

struct Threshold {
  uint32_t rank, equals;  // how many of those equal to it are kept, the lowest indices first
};

/// The weights of all candidates above the threshold, of those equal to it, and what one of those weighs.
struct Kept {
  uint64_t sum;
  uint32_t each;
};

/// The state of a search before its pass `pass`, from the last one and its bins.
template <class Thread>
K_FN SearchState advance(Thread t, SampleMemory m, Measure measure, uint32_t pass, uint64_t target,
                         K_SHARED float* scratch) {
  K_GLOBAL SearchState* const states = m.states + (measure == Measure::Weight ? SampleShape::kPasses + 1 : 0);
  SearchState state = {target, 0, 0};
  if (pass != 0) {
    K_SHARED uint64_t* const totals = reinterpret_cast<K_SHARED uint64_t*>(scratch);
    const K_GLOBAL uint64_t* const bins = m.bins + (pass - 1) % 2 * SampleShape::kDigits * m.chunks;
    if (t.thread_in_group() < SampleShape::kDigits) {
      uint64_t sum = 0;
      for (uint64_t c = 0; c < m.chunks; ++c) sum += bins[t.thread_in_group() * m.chunks + c];
      totals[t.thread_in_group()] = sum;
    }
    t.barrier();
    state = states[pass - 1];
    uint32_t digit = SampleShape::kDigits - 1;
    for (; digit > 0 && totals[digit] < state.needed; --digit) state.needed -= totals[digit];
    state.prefix = state.prefix << 4 | digit;
    t.barrier();
  }
  if (t.group() == 0 && t.thread_in_group() == 0) states[pass] = state;
  return state;
}

/// What step `p` goes by: everything, or what a finished search found.
template <class Thread>
K_FN Threshold threshold(Thread t, K_CONST const SampleStep& p, bool after_top_p, K_SHARED float* scratch) {
  const SampleMemory m = sample_memory(p.sample);
  if (after_top_p && p.has_top_p) {
    const SearchState s = advance(t, m, Measure::Weight, SampleShape::kPasses, 0, scratch);
    const uint32_t each = sample_weight(logit_of(s.prefix), largest_logit(m), p.sample.scale);
    return {s.prefix, each == 0 ? 0 : uint32_t((s.needed + each - 1) / each)};
  }
  if (p.has_top_k) {
    const SearchState s = advance(t, m, Measure::Count, SampleShape::kPasses, 0, scratch);
    return {s.prefix, uint32_t(s.needed)};
  }
  return {0, 0};
}

/// The weight of a candidate in the draw.
K_FN uint32_t drawn_weight(K_CONST const SampleArgs& a, float logit, float top) {
  const uint32_t weight = sample_weight(logit, top, a.scale);
  return weight < a.min_weight ? 0 : weight;
}

/// Sums of weights above the threshold and counts of those equal to it, a chunk per group: for the target of top_p, or
/// (kFinal) for the draw.
template <bool kFinal, class Thread>
K_FN void sample_sums(Thread t, K_CONST const SampleStep& p, K_SHARED float* scratch) {
  K_CONST const SampleArgs& a = p.sample;
  const SampleMemory m = sample_memory(a);
  const Threshold limit = threshold(t, p, kFinal, scratch);
  const float top = largest_logit(m);
  K_SHARED uint64_t* const sums = reinterpret_cast<K_SHARED uint64_t*>(scratch);
  K_SHARED uint32_t* const ties = reinterpret_cast<K_SHARED uint32_t*>(sums + SampleShape::kThreads);
  for (uint64_t c = t.group(); c < m.chunks; c += t.groups()) {
    const Chunk chunk = chunk_of(a, c);
    uint64_t sum = 0;
    uint32_t equal = 0;
    for (uint64_t i = chunk.begin + t.thread_in_group(); i < chunk.end; i += t.threads_in_group()) {
      const float logit = m.logits[i];
      const uint32_t r = rank(logit);
      if (r > limit.rank) sum += kFinal ? drawn_weight(a, logit, top) : sample_weight(logit, top, a.scale);
      equal += r == limit.rank ? 1 : 0;
    }
    sums[t.thread_in_group()] = sum;
    ties[t.thread_in_group()] = equal;
    for (uint32_t apart = t.threads_in_group() / 2; apart > 0; apart /= 2) {
      t.barrier();
      if (t.thread_in_group() >= apart) continue;
      sums[t.thread_in_group()] += sums[t.thread_in_group() + apart];
      ties[t.thread_in_group()] += ties[t.thread_in_group() + apart];
    }
    if (t.thread_in_group() == 0) {
      m.sums[c] = sums[0];
      m.ties[c] = ties[0];
    }
    t.barrier();
  }
}

/// A pass of a search, a chunk per group: the sums of 1 or of the weights by digit, of candidates with the prefix so
/// far.
template <Measure kMeasure, class Thread>
K_FN void sample_search(Thread t, K_CONST const SampleStep& p, K_SHARED float* scratch) {
  K_CONST const SampleArgs& a = p.sample;
  const SampleMemory m = sample_memory(a);
  const float top = largest_logit(m);
  uint64_t target = a.top_k;
  if (kMeasure == Measure::Weight && p.pass == 0) {
    const Threshold limit = threshold(t, p, false, scratch);
    target = uint64_t(limit.equals) * sample_weight(logit_of(limit.rank), top, a.scale);
    for (uint64_t c = 0; c < m.chunks; ++c) target += m.sums[c];
    target = top_p_weight(target, a.top_p);
  }
  const SearchState state = advance(t, m, kMeasure, p.pass, target, scratch);
  const uint32_t shift = 28 - 4 * p.pass;
  K_SHARED uint64_t* const columns = reinterpret_cast<K_SHARED uint64_t*>(scratch);
  K_GLOBAL uint64_t* const bins = m.bins + p.pass % 2 * SampleShape::kDigits * m.chunks;
  const uint32_t thread = t.thread_in_group(), threads = t.threads_in_group();
  for (uint64_t c = t.group(); c < m.chunks; c += t.groups()) {
    const Chunk chunk = chunk_of(a, c);
    for (uint32_t d = 0; d < SampleShape::kDigits; ++d) columns[d * threads + thread] = 0;
    for (uint64_t i = chunk.begin + thread; i < chunk.end; i += threads) {
      const float logit = m.logits[i];
      const uint32_t digits = rank(logit) >> shift;
      if (digits >> 4 != state.prefix) continue;
      columns[digits % 16 * threads + thread] += kMeasure == Measure::Count ? 1 : sample_weight(logit, top, a.scale);
    }
    // 16 threads add up a digit's row, then one of them its 16 sums.
    const uint32_t digit = thread / 16, part = thread % 16, length = threads / 16;
    t.barrier();
    uint64_t sum = 0;
    for (uint32_t i = 0; i < length; ++i) sum += columns[digit * threads + part * length + i];
    t.barrier();
    columns[thread] = sum;
    t.barrier();
    if (part == 0) {
      sum = 0;
      for (uint32_t i = 0; i < 16; ++i) sum += columns[thread + i];
      bins[digit * m.chunks + c] = sum;
    }
    t.barrier();
  }
}

/// One group: the token, or the fault.
template <class Thread>
K_FN void sample_draw(Thread t, K_CONST const SampleStep& p, K_SHARED float* scratch) {
  K_CONST const SampleArgs& a = p.sample;
  const SampleMemory m = sample_memory(a);
  const float top = largest_logit(m);
  if (!is_finite(top)) {
    if (t.thread_in_group() != 0) return;
    if (top < 0.0f) store_word(a.fault, 0xffffffffu);
    *a.token = 0xffffffffu;
    return;
  }
  uint64_t c = 0;
  if (a.scale == 0.0f) {
    while (m.maxima[c] != top) ++c;
    const Chunk chunk = chunk_of(a, c);
    Best best = {-infinity(), 0xffffffffu};
    for (uint64_t i = chunk.end; i-- > chunk.begin;)
      if (i % t.threads_in_group() == t.thread_in_group() && m.logits[i] == top) best = {top, uint32_t(i)};
    best = group_best(t, best, scratch);
    if (t.thread_in_group() == 0) *a.token = best.index;
    return;
  }
  Threshold limit = threshold(t, p, true, scratch);
  const uint64_t each = limit.equals == 0 ? 0 : drawn_weight(a, logit_of(limit.rank), top);
  uint64_t total = each * limit.equals;
  for (uint64_t i = 0; i < m.chunks; ++i) total += m.sums[i];
  uint64_t left = scale_bits(random_bits(a.seed, a.step), total);
  for (;; ++c) {
    const uint32_t equals = m.ties[c] < limit.equals ? m.ties[c] : limit.equals;
    const uint64_t sum = m.sums[c] + each * equals;
    if (sum > left) break;
    left -= sum;
    limit.equals -= equals;
  }
  // Neighbouring candidates of the chunk for each thread, then the same again.
  K_SHARED uint64_t* const sums = reinterpret_cast<K_SHARED uint64_t*>(scratch);
  K_SHARED uint32_t* const ties = reinterpret_cast<K_SHARED uint32_t*>(sums + SampleShape::kThreads);
  const Chunk chunk = chunk_of(a, c);
  constexpr uint32_t kEach = SampleShape::kChunk / SampleShape::kThreads;
  const uint64_t begin = chunk.begin + t.thread_in_group() * kEach;
  uint64_t sum = 0;
  uint32_t equal = 0;
  for (uint64_t i = begin; i < begin + kEach && i < chunk.end; ++i) {
    const uint32_t r = rank(m.logits[i]);
    if (r > limit.rank) sum += drawn_weight(a, m.logits[i], top);
    equal += r == limit.rank ? 1 : 0;
  }
  sums[t.thread_in_group()] = sum;
  ties[t.thread_in_group()] = equal;
  t.barrier();
  if (t.thread_in_group() != 0) return;
  uint32_t thread = 0;
  for (;; ++thread) {
    const uint32_t equals = ties[thread] < limit.equals ? ties[thread] : limit.equals;
    sum = sums[thread] + each * equals;
    if (sum > left) break;
    left -= sum;
    limit.equals -= equals;
  }
  for (uint64_t i = chunk.begin + thread * kEach;; ++i) {
    const uint32_t r = rank(m.logits[i]);
    uint64_t weight = r > limit.rank ? drawn_weight(a, m.logits[i], top) : 0;
    if (r == limit.rank && limit.equals > 0) {
      weight = each;
      --limit.equals;
    }
    if (weight > left) {
      *a.token = uint32_t(i);
      return;
    }
    left -= weight;
  }
}

}  // namespace mlx_native::gpu
