#include "op_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "command.h"
#include "mlx_native/quantize.h"
#include "text.h"

namespace mlxn {

using mlx_native::DType;
using mlx_native::MlxDevice;

std::size_t OpProblem::row_bytes() const {
  const auto layout = *mlx_native::ggml_layout(type);
  return k / layout.block_values * std::size_t{layout.block_bytes};
}

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

RotatedWeights::RotatedWeights(const MlxDevice& device, const OpProblem& problem)
    : type_(problem.type), row_bytes_(problem.row_bytes()), expert_bytes_(problem.expert_bytes()) {
  constexpr std::size_t kEncodedValues = 1 << 19;
  constexpr std::size_t kRotation = std::size_t{256} << 20;
  constexpr std::size_t kAlignment = 256;
  const std::size_t rows = std::clamp<std::size_t>(kEncodedValues / problem.k, 1, problem.n);
  pattern_ = must(mlx_native::quantize(problem.type, random_values(rows * problem.k, 1)));
  const std::size_t bytes = problem.weight_bytes();
  const std::size_t stride = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t copies = std::max<std::size_t>(1, (kRotation + stride - 1) / stride);
  const std::size_t free = device.free_memory();
  if (copies > free / stride)
    throw Failure(
        fmt::format("the weights need {} and the device has {} free", bytes_text(copies * stride), bytes_text(free)));
  auto all = must(device.alloc_buffer(copies * stride, DType::U8, {copies * stride}));
  const auto target = must(all.as_mut_slice<std::uint8_t>());
  for (std::size_t copy = 0; copy < copies; ++copy) {
    for (std::size_t at = 0; at < bytes; at += pattern_.size())
      std::memcpy(&target[copy * stride + at], pattern_.data(), std::min(pattern_.size(), bytes - at));
    copies_.push_back(must(all.slice_view(copy * stride, stride)));
  }
}

std::vector<float> RotatedWeights::row(std::size_t expert, std::size_t index) const {
  const std::size_t at = (expert * expert_bytes_ + index * row_bytes_) % pattern_.size();
  return must(mlx_native::dequantize(type_, std::span(pattern_).subspan(at, row_bytes_)));
}

double sampled_error(const OpProblem& problem, const RotatedWeights& weights, const std::vector<float>& input,
                     const std::vector<std::uint32_t>& ids, std::span<const float> output) {
  constexpr std::size_t kSamples = 32;
  double difference = 0, norm = 0;
  const std::size_t row_step = (problem.output_rows() + kSamples - 1) / kSamples,
                    column_step = (problem.n + kSamples - 1) / kSamples;
  for (std::size_t row = 0; row < problem.output_rows(); row += row_step) {
    for (std::size_t column = 0; column < problem.n; column += column_step) {
      const auto weight = weights.row(ids[row], column);
      const float* x = &input[row / problem.top_k * problem.k];
      double exact = 0;
      for (std::size_t i = 0; i < problem.k; ++i) exact += static_cast<double>(weight[i]) * x[i];
      difference += std::pow(output[row * problem.n + column] - exact, 2);
      norm += exact * exact;
    }
  }
  return std::sqrt(difference / norm);
}

}  // namespace mlxn
