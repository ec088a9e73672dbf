// Products with what lies around them.
#pragma once

#include "runtime/fusion_rules.h"

namespace mlx_native::detail {

/// One of these, where the products' kernels have a fused form (Kernel::alone):
///   [norm] gate up silu_mul     one command
///   [norm] product add          one command
///   norm product...             a command a product; each makes the norm for itself, the first one stores it
///   product softmax_topk        one command, a router
Fused fuse_products(Backend backend, std::span<const Command> commands);

/// Whether `commands` go on with a norm of `sum` that no product makes for itself.
bool norm_stays(Reader commands, Backend backend, const float* sum);

}  // namespace mlx_native::detail
