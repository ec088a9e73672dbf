// Random weights of any type at the speed of a copy.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "mlx_native/ggml_type.h"

namespace mlxn {

/// A million normally distributed values, encoded once. Tensors are filled with runs of 256 of them, drawn at random:
/// every value has the right distribution, and no two rows are alike.
class RandomBlocks {
 public:
  /// Throws Failure where the type has no encoder.
  RandomBlocks(mlx_native::GgmlType type, float mean, float deviation, std::uint64_t seed, std::uint32_t threads);

  /// Whole blocks: the last run is cut where they are not a whole number of runs.
  void fill(std::span<std::uint8_t> blocks, std::mt19937_64& random) const;

 private:
  static constexpr std::size_t kRunValues = 256;  ///< a multiple of every type's block
  static constexpr std::size_t kRuns = 4096;
  std::size_t run_bytes_;
  std::vector<std::uint8_t> runs_;
};

}  // namespace mlxn
