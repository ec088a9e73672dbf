#include "args/norm.h"

#include <math.h>

#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

using Doubles = double __attribute__((vector_size(8 * kLanes)));

/// Squares and their sum in double: no float overflows them.
void rms_norm(const RmsNormArgs& a, Team& team) {
  const Range rows = team.part(a.rows);
  for (uint64_t row = rows.begin; row < rows.end; ++row) {
    const float* const x = a.input + row * a.dim;
    float* const y = a.output + row * a.dim;
    Doubles squares[2] = {};
    int chain = 0;
    for_each_vector(0, a.dim, [&](uint64_t i, int n) {
      const Doubles v = __builtin_convertvector(load_n(x + i, n), Doubles);
      squares[chain] += v * v;
      chain ^= 1;
    });
    double sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += squares[0][lane] + squares[1][lane];
    const double factor = 1.0 / ::sqrt(sum / a.dim + double(a.eps));
    for_each_vector(0, a.dim, [&](uint64_t i, int n) {
      const Doubles v = __builtin_convertvector(load_n(x + i, n), Doubles) * factor;
      store_n(y + i, __builtin_convertvector(v * __builtin_convertvector(load_n(a.weight + i, n), Doubles), Vec), n);
    });
  }
}

}  // namespace

void add_norm_rows(const RowSink& sink) { add<RmsNormArgs, rms_norm>(sink, Op::RmsNorm); }

}  // namespace mlx_native::cpu::MLXN_ISA
