#pragma once

#include <span>
#include <vector>

namespace mlx_native::reference {

/// x / sqrt(mean(x^2) + eps) * weight, for each row of weight.size() values.
std::vector<double> rms_norm(std::span<const float> x, std::span<const float> weight, float eps);

/// b repeats where it is shorter than a. Exact: f32 as IEEE has it.
std::vector<float> add(std::span<const float> a, std::span<const float> b);
std::vector<float> mul(std::span<const float> a, std::span<const float> b);

std::vector<double> silu_mul(std::span<const float> gate, std::span<const float> up);
std::vector<double> gelu_tanh(std::span<const float> x);
std::vector<double> gelu_erf(std::span<const float> x);

}  // namespace mlx_native::reference
