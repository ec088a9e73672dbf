#include "args/norm.h"

#include <math.h>

#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

using Doubles = double __attribute__((vector_size(8 * kLanes)));

K_FN Doubles doubles(Vec v) { return __builtin_convertvector(v, Doubles); }

/// In double: no float overflows it.
double sum_of_squares(const float* x, uint64_t n) {
  Doubles squares[2] = {};
  int chain = 0;
  for_each_vector(0, n, [&](uint64_t i, int lanes) {
    const Doubles v = doubles(load_n(x + i, lanes));
    squares[chain] += v * v;
    chain ^= 1;
  });
  Doubles sum = squares[0] + squares[1];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
  return sum[0];
}

void rms_norm(const RmsNormArgs& a, Team& team) {
  constexpr double kLargest = 0x1p60;  // of a factor that floats are multiplied by without a thought
  const Range rows = team.part(a.rows);
  for (uint64_t row = rows.begin; row < rows.end; ++row) {
    const float* const x = a.input + row * a.dim;
    float* const y = a.output + row * a.dim;
    const double factor = 1.0 / ::sqrt(sum_of_squares(x, a.dim) / a.dim + double(a.eps));
    if (factor < kLargest && factor > 1 / kLargest) {
      const float f = float(factor);
      for_each_vector(0, a.dim,
                      [&](uint64_t i, int n) { store_n(y + i, load_n(x + i, n) * f * load_n(a.weight + i, n), n); });
      continue;
    }
    for_each_vector(0, a.dim, [&](uint64_t i, int n) {
      const Doubles v = doubles(load_n(x + i, n)) * factor * doubles(load_n(a.weight + i, n));
      store_n(y + i, __builtin_convertvector(v, Vec), n);
    });
  }
}

uint64_t values(const RmsNormArgs& a) { return uint64_t{a.rows} * a.dim; }

}  // namespace

void add_norm_rows(const RowSink& sink) { add_brief<RmsNormArgs, rms_norm, values>(sink, Op::RmsNorm); }

}  // namespace mlx_native::cpu::MLXN_ISA
