// Plain products: the oracle of every matmul kernel. Sums in float64, weights decoded exactly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mlx_native/ggml_type.h"

namespace mlx_native::reference {

/// The values of whole blocks of a weight format.
std::vector<float> decode(GgmlType type, std::span<const std::uint8_t> blocks);

/// y[m, n] = x[m, k] * w[n, k]^T.
std::vector<double> matmul(std::span<const float> x, std::span<const float> w, std::size_t m, std::size_t n,
                           std::size_t k);

/// y[t * top_k + s, n] = x[t, k] * w_e[n, k]^T with e = ids[t * top_k + s], whose weights begin at e * stride values;
/// NaN where e >= n_experts.
std::vector<double> matmul_id(std::span<const float> x, std::span<const float> w, std::span<const std::uint32_t> ids,
                              std::size_t top_k, std::size_t n, std::size_t k, std::size_t n_experts,
                              std::size_t stride);

}  // namespace mlx_native::reference
