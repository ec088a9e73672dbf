// Vectors of one length on every ISA, whatever that of its Vec is.
#pragma once

#include "core/dialect.h"

namespace mlx_native::cpu::MLXN_ISA {

using Quad = float __attribute__((vector_size(16)));
using Oct = float __attribute__((vector_size(32)));
using Codes = uint32_t __attribute__((vector_size(16)));
using Bytes16 = uint8_t __attribute__((vector_size(16)));

}  // namespace mlx_native::cpu::MLXN_ISA
