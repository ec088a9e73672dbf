// 32 codes at a time: what bytes128.h multiplies.
#pragma once

#include "core/dialect.h"

namespace mlx_native::cpu::MLXN_ISA {

/// 32 codes, eight 32-bit lanes: the words of PairReader.
using Bytes32 = uint32_t __attribute__((vector_size(32)));
using IntOct = int32_t __attribute__((vector_size(32)));

/// Makes the codes of two runs that lie side by side (kPairs in formats/format.h).
struct PairReader {
  K_FN Bytes32 load(const uint8_t* runs) const {
    Bytes32 v;
    __builtin_memcpy(&v, runs, sizeof v);
    return v;
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
