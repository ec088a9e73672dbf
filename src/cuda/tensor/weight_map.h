// A weight matrix as Hopper's copy engine sees it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace mlx_native::cuda {

/// The engine wants strides, and starts of copies, at multiples of 16 bytes. Rows of other lengths are taken in bunches
/// of 2^bunch_log2 whose length is one, row i of each bunch by a copy of its own: in shared memory row r of a tile is
/// at place (r % bunch) * (rows / bunch) + r / bunch.
struct WeightMap {
  CUtensorMap tensor;
  uint32_t bunch_log2;
};

inline uint32_t bunch_log2(uint64_t row_bytes) {
  return row_bytes % 16 == 0 ? 0 : row_bytes % 8 == 0 ? 1 : row_bytes % 4 == 0 ? 2 : 3;
}

/// Whether every row can be copied: rows of an even number of bytes, in whole bunches, from a multiple of 16 on.
inline bool can_map(const void* weight, uint64_t row_bytes, uint32_t n, uint64_t expert_stride) {
  return (reinterpret_cast<uintptr_t>(weight) | expert_stride) % 16 == 0 && row_bytes % 2 == 0 &&
         n % (1u << bunch_log2(row_bytes)) == 0;
}

/// For copies of `rows` rows of `bytes` bytes each, counted in units of `unit` bytes (2, 4 or 8), of which a copy has
/// at most 256. What lies behind the end is zero. once: copies leave L2 before anything else does, so that no more than
/// their lines should come there.
cudaError_t map_weights(WeightMap& map, const void* weight, uint64_t row_bytes, uint32_t n, uint32_t experts,
                        uint64_t expert_stride, uint32_t rows, uint32_t bytes, uint32_t unit, bool once = false);

}  // namespace mlx_native::cuda
