// RoPE and the KV cache: what depends on the positions of tokens.
#include <math.h>

#include "args/attention.h"
#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

/// Pairs whose angles are made together; a worker keeps their sines and cosines on its stack.
constexpr uint32_t kPairsAtOnce = 64;
static_assert(kPairsAtOnce % kLanes == 0);

/// What angle a position adds, of pairs from `first` on, in 2^-64 turns: products with positions lose nothing but whole
/// turns. Made in extended precision once, and kept by each thread until it is asked for another.
struct Frequencies {
  float theta = 0, scale = 0;
  uint32_t rope_dim = 0, first = 0;
  alignas(64) uint64_t turns[kPairsAtOnce] = {};

  void make(const RopeArgs& a, uint32_t first_pair, uint32_t n) {
    const bool known = theta == a.theta && scale == a.freq_scale && rope_dim == a.rope_dim && first == first_pair;
    if (known && !a.freq_factors) return;
    theta = a.freq_factors ? 0 : a.theta;
    scale = a.freq_scale;
    rope_dim = a.rope_dim;
    first = first_pair;
    constexpr long double kTurn = 6.283185307179586476925286766559L;
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t pair = first_pair + i;
      long double f = a.freq_scale * ::powl(a.theta, -2.0L * pair / a.rope_dim) / kTurn;
      if (a.freq_factors) f /= a.freq_factors[pair];
      turns[i] = uint64_t((f - ::floorl(f)) * 0x1p64L);
    }
  }
};
thread_local Frequencies frequencies;

struct Rotation {
  alignas(64) float cosine[kPairsAtOnce], sine[kPairsAtOnce];

  K_FN void make(const Frequencies& of, uint64_t position) {
    for (uint32_t i = 0; i < kPairsAtOnce; i += kLanes) {
      WideVec turns;
      __builtin_memcpy(&turns, of.turns + i, sizeof turns);
      const SineCosine made = sine_cosine(turns * position);
      store(cosine + i, made.cosine);
      store(sine + i, made.sine);
    }
  }
};

/// Rotates `n` pairs: the first members at `from`, the second ones `second` behind.
K_FN void rotate_halves(const float* from, float* to, uint32_t second, uint32_t n, const Rotation& r) {
  for_each_vector(0, n, [&](uint64_t i, int lanes) {
    const Vec x = load_n(from + i, lanes), y = load_n(from + i + second, lanes);
    const Vec c = load(r.cosine + i), s = load(r.sine + i);
    store_n(to + i, x * c - y * s, lanes);
    store_n(to + i + second, x * s + y * c, lanes);
  });
}
/// The same where the members are neighbours.
K_FN void rotate_neighbours(const float* from, float* to, uint32_t n, const Rotation& r) {
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Pairs in = split_pairs(load(from + 2 * i), load(from + 2 * i + kLanes), Lanes{});
    const Vec c = load(r.cosine + i), s = load(r.sine + i);
    const Pairs out = join_pairs(in.first * c - in.second * s, in.first * s + in.second * c, Lanes{});
    store(to + 2 * i, out.first);
    store(to + 2 * i + kLanes, out.second);
  }
  for (; i < n; ++i) {
    const float x = from[2 * i], y = from[2 * i + 1];
    to[2 * i] = x * r.cosine[i] - y * r.sine[i];
    to[2 * i + 1] = x * r.sine[i] + y * r.cosine[i];
  }
}

void copy_rest(const RopeArgs& a, const float* from, float* to) {
  const uint32_t pairs = a.rope_dim / 2;
  for (uint32_t i = 0; i < a.head_dim; ++i) {
    const bool rotated = a.adjacent ? i < a.rope_dim : i < pairs || (i >= a.pair_split && i < a.pair_split + pairs);
    if (!rotated) to[i] = from[i];
  }
}

void rope(const RopeArgs& a, Team& team) {
  const Range part = team.part(uint64_t{a.n_tokens} * a.n_heads);
  if (part.begin == part.end) return;
  for (uint32_t first = 0; first < a.rope_dim / 2; first += kPairsAtOnce) {
    const uint32_t n = a.rope_dim / 2 - first < kPairsAtOnce ? a.rope_dim / 2 - first : kPairsAtOnce;
    frequencies.make(a, first, n);
    Rotation rotation;
    for (uint64_t head = part.begin; head < part.end; ++head) {
      if (head == part.begin || head % a.n_heads == 0) rotation.make(frequencies, a.positions[head / a.n_heads]);
      const uint64_t at = head * a.head_dim + first * (a.adjacent ? 2 : 1);
      if (a.adjacent)
        rotate_neighbours(a.input + at, a.output + at, n, rotation);
      else
        rotate_halves(a.input + at, a.output + at, a.pair_split, n, rotation);
    }
  }
  if (a.input != a.output && a.rope_dim != a.head_dim)
    for (uint64_t head = part.begin; head < part.end; ++head)
      copy_rest(a, a.input + head * a.head_dim, a.output + head * a.head_dim);
}

void kv_cache_write(const KvCacheWriteArgs& a, Team& team) {
  const Range part = team.part(uint64_t{a.n_tokens} * a.n_kv_heads);
  for (uint64_t item = part.begin; item < part.end; ++item) {
    const uint64_t token = item / a.n_kv_heads, head = item % a.n_kv_heads;
    const uint64_t slot = head * a.kv_capacity + a.positions[token] % a.kv_capacity;
    const float* const from = a.input + item * a.head_dim;
    for_each_vector(0, a.head_dim, [&](uint64_t i, int n) {
      const Vec v = load_n(from + i, n);
      if (!a.f16)
        store_n(reinterpret_cast<float*>(a.cache) + slot * a.head_dim + i, v, n);
      else if (n == kLanes)
        store_half(reinterpret_cast<uint16_t*>(a.cache) + slot * a.head_dim + i, v);
      else
        store_half_part(reinterpret_cast<uint16_t*>(a.cache) + slot * a.head_dim + i, v, n);
    });
  }
}

uint64_t values_of_rope(const RopeArgs& a) { return uint64_t{a.n_tokens} * a.n_heads * a.head_dim; }
uint64_t values_of_write(const KvCacheWriteArgs& a) { return uint64_t{a.n_tokens} * a.n_kv_heads * a.head_dim; }

}  // namespace

void add_position_rows(const RowSink& sink) {
  add_brief<RopeArgs, rope, values_of_rope>(sink, Op::Rope);
  add_brief<KvCacheWriteArgs, kv_cache_write, values_of_write>(sink, Op::KvCacheWrite);
}

}  // namespace mlx_native::cpu::MLXN_ISA
