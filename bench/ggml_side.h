// ggml's CPU path as the comparison needs it: products with plain (not repacked) weights.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace bench {

class GgmlSide {
 public:
  /// y[i] = x W[i]^T for each matrix W[i], [n, k] of ggml's type number; x is [m, k].
  GgmlSide(std::uint32_t type, std::uint32_t m, std::uint32_t n, std::uint32_t k,
           std::span<const std::span<const std::uint8_t>> weights, std::span<const float> x, int threads);
  ~GgmlSide();

  /// Makes the products of matrices [first, first + count) in one call of ggml.
  void run(std::size_t first, std::size_t count);
  /// y[i] of the last run that made it.
  std::span<const float> output(std::size_t i) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// "0.21.0 AVX2 AVX512 ...".
std::string ggml_description();

}  // namespace bench
