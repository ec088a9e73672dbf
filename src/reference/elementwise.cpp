#include "reference/elementwise.h"

#include <cmath>
#include <numbers>

namespace mlx_native::reference {

std::vector<double> rms_norm(std::span<const float> x, std::span<const float> weight, float eps) {
  const std::size_t dim = weight.size();
  std::vector<double> y(x.size());
  for (std::size_t row = 0; row < x.size(); row += dim) {
    double sum = 0;
    for (std::size_t i = 0; i < dim; ++i) sum += double{x[row + i]} * double{x[row + i]};
    const double norm = std::sqrt(sum / static_cast<double>(dim) + double{eps});
    for (std::size_t i = 0; i < dim; ++i) y[row + i] = double{x[row + i]} / norm * double{weight[i]};
  }
  return y;
}

std::vector<float> add(std::span<const float> a, std::span<const float> b) {
  std::vector<float> y(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) y[i] = a[i] + b[i % b.size()];
  return y;
}

std::vector<float> mul(std::span<const float> a, std::span<const float> b) {
  std::vector<float> y(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) y[i] = a[i] * b[i % b.size()];
  return y;
}

std::vector<double> silu_mul(std::span<const float> gate, std::span<const float> up) {
  std::vector<double> y(gate.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = double{gate[i]} / (1 + std::exp(-double{gate[i]})) * double{up[i]};
  return y;
}

std::vector<double> gelu_tanh(std::span<const float> x) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double v = x[i];
    y[i] = 0.5 * v * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v)));
  }
  return y;
}

std::vector<double> gelu_erf(std::span<const float> x) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = 0.5 * double{x[i]} * std::erfc(-double{x[i]} / std::numbers::sqrt2);
  return y;
}

}  // namespace mlx_native::reference
