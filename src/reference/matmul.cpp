#include "reference/matmul.h"

#include <limits>

#include "formats/codec.h"

namespace mlx_native::reference {

std::vector<float> decode(GgmlType type, std::span<const std::uint8_t> blocks) {
  const Codec& codec = *find_codec(type);
  const std::size_t n_blocks = blocks.size() / codec.block_bytes;
  std::vector<float> values(n_blocks * codec.block_values);
  codec.decode(blocks.data(), n_blocks, values.data());
  return values;
}

std::vector<double> matmul(std::span<const float> x, std::span<const float> w, std::size_t m, std::size_t n,
                           std::size_t k) {
  std::vector<double> y(m * n);
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::size_t l = 0; l < k; ++l) sum += double{x[i * k + l]} * double{w[j * k + l]};
      y[i * n + j] = sum;
    }
  return y;
}

std::vector<double> matmul_id(std::span<const float> x, std::span<const float> w, std::span<const std::uint32_t> ids,
                              std::size_t top_k, std::size_t n, std::size_t k, std::size_t n_experts,
                              std::size_t stride) {
  std::vector<double> y;
  for (std::size_t row = 0; row < ids.size(); ++row) {
    if (ids[row] >= n_experts) {
      y.insert(y.end(), n, std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    const auto one = matmul(x.subspan(row / top_k * k, k), w.subspan(ids[row] * stride, n * k), 1, n, k);
    y.insert(y.end(), one.begin(), one.end());
  }
  return y;
}

}  // namespace mlx_native::reference
