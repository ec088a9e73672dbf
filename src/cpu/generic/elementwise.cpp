#include "args/elementwise.h"

#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

constexpr uint64_t kGrain = 1024;  // of numbers: parts of workers start at lines of the cache

struct Sum {
  static K_FN Vec of(Vec a, Vec b) { return a + b; }
};
struct Product {
  static K_FN Vec of(Vec a, Vec b) { return a * b; }
};

template <class Combine>
void binary(const BinaryArgs& a, Team& team) {
  const uint64_t total = uint64_t{a.rows} * a.cols;
  const Range part = team.part(total, kGrain);
  // Runs within which b goes on: the whole part, or a row of a bias.
  const uint64_t period = a.b_rows == 1 ? a.cols : total;
  for (uint64_t i = part.begin; i < part.end;) {
    const uint64_t in_b = i % period, end = part.end - i < period - in_b ? part.end : i + (period - in_b);
    for_each_vector(i, end, [&](uint64_t at, int n) {
      store_n(a.output + at, Combine::of(load_n(a.a + at, n), load_n(a.b + in_b + (at - i), n)), n);
    });
    i = end;
  }
}

/// g / (1 + exp(-g)) = g exp(g) / (1 + exp(g)); the root of the exponential keeps it and the result in range.
K_FN Vec silu(Vec g) {
  const Vec h = exp_of_difference(-0.5f * abs(g)), f = g < 0.0f ? h : splat(1.0f);
  return g * f / (1.0f + h * h) * f;
}

void silu_mul(const SiluMulArgs& a, Team& team) {
  const Range part = team.part(a.n, kGrain);
  for_each_vector(part.begin, part.end, [&](uint64_t i, int n) {
    store_n(a.output + i, silu(load_n(a.gate + i, n)) * load_n(a.up + i, n), n);
  });
}

K_FN Vec gelu_tanh(Vec x) {
  constexpr float kTwiceRoot2OverPi = 1.5957691216057308f;
  const Vec u = kTwiceRoot2OverPi * fma(0.044715f * x * x, x, x);  // 0.5 (1 + tanh(u / 2)) is a sigmoid
  return x / (1.0f + exp(-u));
}

K_FN Vec gelu_erf(Vec x) { return 0.5f * x * (1.0f + erf(x * 0.70710678118654752f)); }

void gelu(const GeluArgs& a, Team& team) {
  const Range part = team.part(a.n, kGrain);
  for_each_vector(part.begin, part.end, [&](uint64_t i, int n) {
    const Vec x = load_n(a.input + i, n);
    store_n(a.output + i, a.erf ? gelu_erf(x) : gelu_tanh(x), n);
  });
}

uint64_t values_of_binary(const BinaryArgs& a) { return uint64_t{a.rows} * a.cols; }
uint64_t values_of_silu_mul(const SiluMulArgs& a) { return a.n; }
uint64_t values_of_gelu(const GeluArgs& a) { return a.n; }

}  // namespace

void add_elementwise_rows(const RowSink& sink) {
  add_brief<BinaryArgs, binary<Sum>, values_of_binary>(sink, Op::Add);
  add_brief<BinaryArgs, binary<Product>, values_of_binary>(sink, Op::Mul);
  add_brief<SiluMulArgs, silu_mul, values_of_silu_mul>(sink, Op::SiluMul);
  add_brief<GeluArgs, gelu, values_of_gelu>(sink, Op::Gelu);
}

}  // namespace mlx_native::cpu::MLXN_ISA
