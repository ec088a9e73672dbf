// Products with what lies around them.
#pragma once

#include "runtime/fusion_rules.h"

namespace mlx_native::detail {

/// One of these, where the products' kernels have a fused form (Kernel::alone):
///   [norm] gate up silu_mul     one command
///   [norm] product add          one command
///   norm product...             a command a product; each makes the norm for itself, the first one stores it
Fused fuse_products(Backend backend, std::span<const Command> commands);

}  // namespace mlx_native::detail
