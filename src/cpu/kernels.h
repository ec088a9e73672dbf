// The CPU's kernel table: the rows of every ISA that this machine has, the best first.
#pragma once

#include <string>
#include <vector>

#include "mlx_native/error.h"
#include "runtime/kernel.h"

namespace mlx_native::cpu {

/// The ISA whose kernels are chosen first: the best of the machine, or the one that the environment variable
/// MLXN_CPU_ISA names. DeviceNotFound where that one is unknown or the machine lacks it. Decided once.
Result<std::string> preferred_isa();

/// Rows are called cpu.ISA.op[.format]. The preferred ISA comes first, then the others from the best to the portable.
std::vector<detail::Kernel> kernels();

}  // namespace mlx_native::cpu
