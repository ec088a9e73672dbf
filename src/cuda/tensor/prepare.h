// What precedes a product on the tensor cores: routing and the packing of activations. Defined in prepare.cu.
#pragma once

#include "cuda/launch.h"
#include "cuda/tensor/problem.h"

namespace mlx_native::cuda {

/// Above this many experts the routing's counters would not fit shared memory.
inline constexpr std::uint32_t kMostExperts = 4096;

/// Packs `rows` rows of k values to `to`, unless a product before has (Launch::packing). Returns where they are. Rows
/// of `behind` are left to the next kernel, or there are none of them.
PackedX pack(Launch& on, const float* x, std::uint32_t rows, std::uint32_t k, const PackedX& to,
             PackedBehind* behind = nullptr);

/// Sorts slots by expert, lists tiles of at most `tile_rows` rows, packs the row of each slot's token at its place (of
/// each token at its number, if gathered), and makes the results of slots without an expert NaN. The tiles are known
/// when a kernel behind it starts; the rest when this one has ended.
void route(Launch& on, const MatmulIdArgs& args, const Routing& routing, std::uint32_t tile_rows,
           const PackedX& packed);

/// Adds the parts of a product that was split along k, in their order.
void add_parts(Launch& on, const MatMatProblem& problem);

}  // namespace mlx_native::cuda
