#include "problem.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>
#include <set>

namespace bench {

using mlx_native::dequantize;
using mlx_native::ggml_layout;
using mlx_native::GgmlLayout;
using mlx_native::quantize;

std::size_t Shape::row_bytes() const {
  const GgmlLayout layout = *ggml_layout(type);
  return std::size_t{k} / layout.block_values * layout.block_bytes;
}

Weights::Weights(const Shape& shape, std::size_t least_bytes) : shape_(shape) {
  constexpr std::size_t kDistinct = 128, kAlign = 4096;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(shape.k)));
  std::vector<float> values(kDistinct * shape.k);
  for (float& v : values) v = normal(random);
  const std::vector<std::uint8_t> rows = need(quantize(shape.type, values));
  const std::size_t row_bytes = shape.row_bytes(), bytes = shape.matrix_bytes();
  const std::size_t stride = (bytes + kAlign - 1) / kAlign * kAlign;
  const std::size_t copies = std::max<std::size_t>(2, (least_bytes + stride - 1) / stride);
  auto* const start = static_cast<std::uint8_t*>(std::aligned_alloc(kAlign, copies * stride));
  if (!start) throw std::runtime_error("no memory for the weights");
  bytes_ = {start, std::free};
  for (std::size_t i = 0; i < copies; ++i) {
    pointers_.push_back(start + i * stride);
    for (std::size_t at = 0; at < bytes; at += row_bytes)
      std::copy_n(rows.data() + random() % kDistinct * row_bytes, row_bytes, start + i * stride + at);
  }
}

std::vector<float> Weights::row(std::size_t index) const {
  return need(dequantize(shape_.type, matrix(0).subspan(index * shape_.row_bytes(), shape_.row_bytes())));
}

Products::Products(const Weights& weights, std::uint32_t m, int thread_count) : rows(m), threads(thread_count) {
  const Shape& shape = weights.shape();
  flops = 2.0 * rows * shape.top * shape.n * shape.k;
  bytes = static_cast<double>(shape.matrix_bytes());
  auto total = static_cast<std::uint32_t>(weights.count());
  std::mt19937 random(3);
  if (shape.experts) {
    // Rows in a row take experts in a row of one permutation, so that a few products pass all the experts of a matrix.
    total *= std::max(1u, shape.experts / (rows * shape.top));
    std::vector<std::int32_t> order(shape.experts);
    std::iota(order.begin(), order.end(), 0);
    std::size_t at = order.size();
    for (std::uint32_t i = 0; i < total; ++i) {
      std::vector<std::int32_t>& chosen = ids.emplace_back();
      while (chosen.size() < std::size_t{rows} * shape.top) {
        if (at + shape.top > order.size()) {
          std::ranges::shuffle(order, random);
          at = 0;
        }
        chosen.insert(chosen.end(), order.begin() + static_cast<std::ptrdiff_t>(at),
                      order.begin() + static_cast<std::ptrdiff_t>(at + shape.top));
        at += shape.top;
      }
    }
    bytes *= static_cast<double>(std::set(ids[0].begin(), ids[0].end()).size()) / shape.experts;
  }
  constexpr double kFlopsPerThread = 2e9;  // about 10 ms
  per_run = static_cast<std::uint32_t>(std::clamp(kFlopsPerThread * threads / flops, 1.0, static_cast<double>(total)));
  runs = total / per_run;

  const std::size_t size = std::size_t{rows} * shape.k;
  std::normal_distribution<float> normal;
  x.resize(per_run * size);
  std::generate_n(x.begin(), size, [&] { return normal(random); });
  for (std::uint32_t slot = 1; slot < per_run; ++slot)
    std::copy_n(x.begin(), size, x.begin() + static_cast<std::ptrdiff_t>(slot * size));
}

std::span<const float> Products::input(std::size_t slot) const {
  const std::size_t size = x.size() / per_run;
  return std::span(x).subspan(slot * size, size);
}

Oracle::Oracle(const Weights& weights, const Products& products) {
  constexpr std::uint32_t kRows = 8, kColumns = 256;
  const Shape& shape = weights.shape();
  const std::uint32_t results = products.rows * shape.top;
  for (std::uint32_t column = 0; column < shape.n; column += std::max(1u, shape.n / kColumns))
    for (std::uint32_t result = 0; result < results; result += std::max(1u, results / kRows)) {
      const std::size_t expert = shape.experts ? static_cast<std::size_t>(products.ids[0][result]) : 0;
      const std::vector<float> w = weights.row(expert * shape.n + column);
      const std::span<const float> x = products.input(0).subspan(std::size_t{result / shape.top} * shape.k, shape.k);
      index_.push_back(std::size_t{result} * shape.n + column);
      value_.push_back(std::transform_reduce(x.begin(), x.end(), w.begin(), 0.0, std::plus{},
                                             [](double a, double b) { return a * b; }));
    }
}

double Oracle::error(std::span<const float> y) const {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < index_.size(); ++i) {
    const double d = double{y[index_[i]]} - value_[i];
    difference += d * d;
    size += value_[i] * value_[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace bench
