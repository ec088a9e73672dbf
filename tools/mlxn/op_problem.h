// The product that `mlxn bench --op` measures: its shape, its weights, and how far off a result is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/ops/precision.h"

namespace mlxn {

/// A dense product is that of a single expert which every token uses.
struct OpProblem {
  mlx_native::GgmlType type;
  std::uint32_t n, k, m, experts, top_k;
  bool routed;
  mlx_native::Precision precision;

  std::size_t row_bytes() const;
  std::size_t expert_bytes() const { return n * row_bytes(); }
  std::size_t weight_bytes() const { return experts * expert_bytes(); }
  std::size_t output_rows() const { return std::size_t{m} * top_k; }
  std::size_t outputs() const { return output_rows() * n; }
};

/// Normally distributed.
std::vector<float> random_values(std::size_t count, unsigned seed);

/// Copies of the weights, so many that no cache holds the one that comes next. Their rows repeat a few encoded ones:
/// times do not depend on the values, and encoding is slow.
class RotatedWeights {
 public:
  /// For any m. Throws Failure where the device has too little memory.
  RotatedWeights(const mlx_native::MlxDevice& device, const OpProblem& problem);

  const mlx_native::MlxBuffer& next() { return copies_[next_++ % copies_.size()]; }
  /// A decoded row of an expert.
  std::vector<float> row(std::size_t expert, std::size_t index) const;

 private:
  mlx_native::GgmlType type_;
  std::size_t row_bytes_, expert_bytes_;
  std::vector<std::uint8_t> pattern_;
  std::vector<mlx_native::MlxBuffer> copies_;
  std::size_t next_ = 0;
};

/// Relative L2 error of up to 32 x 32 of the outputs against float64. `ids` has the expert of every output row.
double sampled_error(const OpProblem& problem, const RotatedWeights& weights, const std::vector<float>& input,
                     const std::vector<std::uint32_t>& ids, std::span<const float> output);

}  // namespace mlxn
