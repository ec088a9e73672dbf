// One product to compare, its weights and activations, and what a side gets to compute it.
#pragma once

#include <mlx_native/mlx_native.h>

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

template <class T>
T need(mlx_native::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// W: [n, k], or [experts, n, k] of which every row of x takes `top`.
struct Shape {
  mlx_native::GgmlType type;
  std::uint32_t n, k, experts = 0, top = 1;

  std::size_t row_bytes() const;
  std::size_t matrix_bytes() const { return row_bytes() * n * std::max(1u, experts); }
};

/// Matrices of one shape that together are larger than the caches: rows drawn from some encoded ones.
class Weights {
 public:
  Weights(const Shape& shape, std::size_t least_bytes);
  const Shape& shape() const { return shape_; }
  std::size_t count() const { return pointers_.size(); }
  std::span<const std::uint8_t> matrix(std::size_t i) const { return {pointers_[i], shape_.matrix_bytes()}; }
  const std::vector<const std::uint8_t*>& pointers() const { return pointers_; }
  const std::shared_ptr<std::uint8_t[]>& owner() const { return bytes_; }
  /// Decoded row of the first matrix (rows of experts follow each other).
  std::vector<float> row(std::size_t index) const;

 private:
  Shape shape_;
  std::shared_ptr<std::uint8_t[]> bytes_;
  std::vector<const std::uint8_t*> pointers_;
};

/// Products of equal shape over all weights: product i takes matrix i % count, and slot i % per_run for input (all
/// slots hold the same values: a library that keeps what it made of its last input shall not) and output. A run makes
/// per_run products, so many that it takes milliseconds.
struct Products {
  std::uint32_t rows, per_run, runs;
  int threads;
  std::vector<float> x;  // [per_run, rows, k]
  std::vector<std::vector<std::int32_t>> ids;

  Products(const Weights& weights, std::uint32_t rows, int threads);
  std::uint32_t count() const { return per_run * runs; }
  std::span<const float> input(std::size_t slot) const;

  /// Of one product: 2 m n k, and the weight bytes that it must read (of the experts that occur).
  double flops, bytes;
};

/// Some outputs of product 0 in float64.
class Oracle {
 public:
  Oracle(const Weights& weights, const Products& products);
  /// Relative L2 error of y, [rows, n] or [rows, top, n].
  double error(std::span<const float> y) const;

 private:
  std::vector<std::size_t> index_;
  std::vector<double> value_;
};

}  // namespace bench
