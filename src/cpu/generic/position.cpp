// RoPE and the KV cache: what depends on the positions of tokens.
#include <math.h>

#include "args/attention.h"
#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

/// Pairs whose angles are made together; a worker keeps their frequencies, sines and cosines on its stack.
constexpr uint32_t kPairsAtOnce = 64;

struct Rotation {
  float cosine[kPairsAtOnce], sine[kPairsAtOnce];
};

/// Rotates `n` pairs: the first members at a, the second ones at b, `stride` apart.
K_FN void rotate(const float* from, float* to, uint32_t second, uint32_t stride, uint32_t n, const Rotation& r) {
  for (uint32_t i = 0; i < n; ++i) {
    const float x = from[i * stride], y = from[i * stride + second];
    to[i * stride] = x * r.cosine[i] - y * r.sine[i];
    to[i * stride + second] = x * r.sine[i] + y * r.cosine[i];
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
  for (uint32_t first = 0; first < a.rope_dim / 2; first += kPairsAtOnce) {
    const uint32_t n = a.rope_dim / 2 - first < kPairsAtOnce ? a.rope_dim / 2 - first : kPairsAtOnce;
    double frequency[kPairsAtOnce];
    for (uint32_t i = 0; i < n; ++i) {
      frequency[i] = double(a.freq_scale) * ::pow(double(a.theta), -2.0 * (first + i) / a.rope_dim);
      if (a.freq_factors) frequency[i] /= double(a.freq_factors[first + i]);
    }
    Rotation rotation;
    for (uint64_t head = part.begin; head < part.end; ++head) {
      if (head == part.begin || head % a.n_heads == 0)
        for (uint32_t i = 0; i < n; ++i) {
          const double angle = a.positions[head / a.n_heads] * frequency[i];
          rotation.cosine[i] = float(::cos(angle));
          rotation.sine[i] = float(::sin(angle));
        }
      const uint64_t at = head * a.head_dim + first * (a.adjacent ? 2 : 1);
      if (a.adjacent)
        rotate(a.input + at, a.output + at, 1, 2, n, rotation);
      else
        rotate(a.input + at, a.output + at, a.pair_split, 1, n, rotation);
    }
  }
  if (a.input != a.output)
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

}  // namespace

void add_position_rows(const RowSink& sink) {
  add<RopeArgs, rope>(sink, Op::Rope);
  add<KvCacheWriteArgs, kv_cache_write>(sink, Op::KvCacheWrite);
}

}  // namespace mlx_native::cpu::MLXN_ISA
