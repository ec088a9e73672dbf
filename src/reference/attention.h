// Rotary positions, the KV cache and attention.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mlx_native::reference {

struct Rope {
  std::size_t n_heads, head_dim, rope_dim;
  bool adjacent;           ///< pairs (2 i, 2 i + 1)
  std::size_t pair_split;  ///< otherwise (i, i + pair_split)
  double theta, freq_scale;
};
/// x [positions.size(), n_heads, head_dim]; freq_factors empty: all 1.
std::vector<double> rope(std::span<const float> x, std::span<const std::uint32_t> positions,
                         std::span<const float> freq_factors, const Rope& params);

/// f16 of the nearest value, ties to even.
std::uint16_t to_half(float value);

/// cache[h, positions[t] % capacity, :] = x[t, h, :], cache [n_kv_heads, capacity, head_dim].
void kv_cache_write(std::span<const float> x, std::span<const std::uint32_t> positions, std::span<float> cache,
                    std::size_t n_kv_heads, std::size_t capacity, std::size_t head_dim);

struct Attention {
  std::size_t n_heads, n_kv_heads, head_dim, capacity;
  double scale;
  bool causal;
  std::size_t sliding_window;  ///< 0: none
  double softcap;              ///< 0: none
};
/// query [positions.size(), n_heads, head_dim], k and v [n_kv_heads, capacity, head_dim]. Slot s holds the newest
/// position p <= positions.back() with p % capacity == s.
std::vector<double> attention(std::span<const float> query, std::span<const float> k, std::span<const float> v,
                              std::span<const std::uint32_t> positions, const Attention& params);

}  // namespace mlx_native::reference
