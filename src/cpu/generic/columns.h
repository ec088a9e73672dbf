// Weight rows side by side: a vector holds the same place of kLanes rows, so that a product needs no sum over lanes and
// an element of x is multiplied with kLanes weights at once.
#pragma once

#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// The same 16 bytes of kLanes rows: lane i of word j is bytes 4 j to 4 j + 3 of row i.
struct Words {
  UIntVec word[4];

#define MLXN_WORDS_OPERATOR(op, Right, right)                     \
  friend K_FN Words operator op(Words a, Right b) {               \
    for (int j = 0; j < 4; ++j) a.word[j] = a.word[j] op b right; \
    return a;                                                     \
  }
  MLXN_WORDS_OPERATOR(&, uint32_t, )
  MLXN_WORDS_OPERATOR(|, uint32_t, )
  MLXN_WORDS_OPERATOR(^, uint32_t, )
  MLXN_WORDS_OPERATOR(<<, int, )
  MLXN_WORDS_OPERATOR(>>, int, )
  MLXN_WORDS_OPERATOR(&, const Words&, .word[j])
  MLXN_WORDS_OPERATOR(|, const Words&, .word[j])
  MLXN_WORDS_OPERATOR(^, const Words&, .word[j])
#undef MLXN_WORDS_OPERATOR
};

/// Makes the codes of a run for kLanes rows (formats/format.h); what it is given is a place in the first row.
struct ColumnReader {
  uint64_t stride;  // bytes from a row to the next

  K_FN Words load(const uint8_t* run) const {
    Words w;
    load_columns(run, stride, w.word);
    return w;
  }
  K_FN UIntVec bits16(const uint16_t* p) const {
    alignas(sizeof(UIntVec)) uint32_t lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      uint16_t bits;
      __builtin_memcpy(&bits, reinterpret_cast<const uint8_t*>(p) + i * stride, sizeof bits);
      lanes[i] = bits;
    }
    UIntVec v;
    __builtin_memcpy(&v, lanes, sizeof v);
    return v;
  }
  K_FN Words spread(UIntVec bits16) const {
    Words w;
    for (int j = 0; j < 4; ++j) w.word[j] = ((bits16 >> (4 * j) & 15u) * 0x00204081u) & 0x01010101u;
    return w;
  }
  template <class Table>
  K_FN Words lookup(const Table& table, Words indices) const {
    constexpr int kParts = sizeof(Words) / sizeof(Codes);
    Codes parts[kParts];
    Bytes16 bytes;
    __builtin_memcpy(&bytes, &table[0], sizeof bytes);
    __builtin_memcpy(parts, &indices, sizeof parts);
    for (Codes& part : parts) part = shuffle_bytes(bytes, part);
    __builtin_memcpy(&indices, parts, sizeof parts);
    return indices;
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
