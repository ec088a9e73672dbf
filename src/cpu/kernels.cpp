#include "cpu/kernels.h"

#include <cmath>

#include "args/norm.h"

namespace mlx_native::cpu {

using detail::Kernel;
using detail::Op;

namespace {

void rms_norm(const RmsNormArgs& a, Team& team) {
  const Range rows = team.part(a.rows);
  for (std::uint64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = a.input + row * a.dim;
    float* y = a.output + row * a.dim;
    float sum = 0;
    for (std::uint32_t i = 0; i < a.dim; ++i) sum += x[i] * x[i];
    const float r = 1.0f / std::sqrt(sum / static_cast<float>(a.dim) + a.eps);
    for (std::uint32_t i = 0; i < a.dim; ++i) y[i] = x[i] * r * a.weight[i];
  }
}

}  // namespace

std::vector<Kernel> kernels() {
  std::vector<Kernel> rows;
  rows.push_back({.name = "cpu.portable.rms_norm",
                  .backend = Backend::Cpu,
                  .op = Op::RmsNorm,
                  .format = {},
                  .entry = entry<RmsNormArgs, rms_norm>()});
  return rows;
}

}  // namespace mlx_native::cpu
