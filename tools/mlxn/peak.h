// Loops of multiply-adds that do nothing else: what a core can do at most.
#pragma once

#include <cstdint>
#include <span>

namespace mlxn {

/// One way to multiply and add.
struct Peak {
  const char* isa;           ///< "avx512"
  const char* instructions;  ///< "vpmaddwd+vpaddd"
  const char* operands;      ///< "f32", "i8", "i16", "bf16"
  double operations;         ///< of one turn of the loop; a multiplication and an addition are two
  bool (*supported)();
  void (*run)(std::uint64_t turns);
};

/// All that this build knows, in the order of their age; those that the machine lacks too.
std::span<const Peak> peaks();

}  // namespace mlxn
