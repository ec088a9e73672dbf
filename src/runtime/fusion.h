// Neighbouring commands that one kernel does at once.
#pragma once

#include <vector>

#include "runtime/device_base.h"

namespace mlx_native::detail {

/// The commands, with some neighbours replaced by one command of a kernel for all of their work, where the device has
/// such a kernel and none of theirs was chosen by name. Every byte that the replaced ones leave in memory is written
/// with the same value, so that nothing needs to be known of who reads it.
///
/// - norms and RoPE of queries and keys, and the writes of keys and values to the cache: Op::HeadsToCache; of one token
///   and not in place, together with its attention: Op::HeadsAttention
/// - a residual sum and the norm of it: Op::AddNorm
/// - the weighted sum of experts and its residual sum, where no such norm follows: Op::MoeReduceAdd
/// - products with the norm of their input, their activation or the residual sum behind them (runtime/fuse_products.h)
Result<std::vector<Command>> fuse(Device& device, std::vector<Command> commands);

}  // namespace mlx_native::detail
