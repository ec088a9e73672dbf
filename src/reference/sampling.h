#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mlx_native::reference {

/// Column of the largest, of equals the lowest; nullopt where there is a NaN.
std::optional<std::uint32_t> argmax(std::span<const float> row);

struct Sampling {
  float repeat_penalty, temperature;
  std::uint32_t top_k;  ///< 0: all
  float top_p, min_p;
};

/// The token as args/sampling.h defines it, step by step; nullopt where it calls the logits an error.
std::optional<std::uint32_t> sample(std::span<const float> logits, std::span<const std::uint32_t> history,
                                    const Sampling& params, std::uint64_t seed, std::uint64_t step);

/// The probability of every token by the usual definition, in float64 and without random numbers: what draws must
/// approach.
std::vector<double> sample_distribution(std::span<const float> logits, std::span<const std::uint32_t> history,
                                        const Sampling& params);

}  // namespace mlx_native::reference
