// What precedes a product on the tensor cores: routing and the packing of activations. Defined in prepare.cu.
#pragma once

#include "cuda/launch.h"
#include "cuda/tensor/problem.h"

namespace mlx_native::cuda {

/// Above this many experts the routing's counters would not fit shared memory.
inline constexpr std::uint32_t kMostExperts = 4096;

/// Sorts slots by expert and lists tiles of at most `tile_rows` rows: all of `routing` but slot_of.
void route(Launch& on, const MatmulIdArgs& args, const Routing& routing, std::uint32_t tile_rows);

/// Packs `rows` rows of k values.
void pack(Launch& on, const float* x, std::uint32_t rows, std::uint32_t k, const PackedX& packed);

/// After route(): packs the row of each slot's token at its routed place, fills slot_of, and makes the results of slots
/// without an expert NaN.
void pack_routed(Launch& on, const MatmulIdArgs& args, const Routing& routing, const PackedX& packed);

/// Adds the parts of a product that was split along k, in their order.
void add_parts(Launch& on, const MatMatProblem& problem);

}  // namespace mlx_native::cuda
