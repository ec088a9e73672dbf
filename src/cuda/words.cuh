// Words of four bytes: what the compiler does not find an instruction for.
#pragma once

#include <cstdint>

namespace mlx_native::cuda {

/// Byte i is that of the eight of a and b whose number is nibble i of `which`; with 8 more, copies of its top bit.
__device__ __forceinline__ std::uint32_t pick_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t which) {
  std::uint32_t d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(which));
  return d;
}

/// (a & mask) | b: one instruction, where the compiler takes two so as to have both constants in them.
__device__ __forceinline__ std::uint32_t masked_or(std::uint32_t a, std::uint32_t mask, std::uint32_t b) {
  std::uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(b));
  return d;
}
/// (a & mask) | (b & ~mask), likewise.
__device__ __forceinline__ std::uint32_t select_bits(std::uint32_t a, std::uint32_t b, std::uint32_t mask) {
  std::uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xe4;" : "=r"(d) : "r"(a), "r"(b), "r"(mask));
  return d;
}

/// Byte i is that of a table of 16 whose number is the low nibble of byte i of `word`, or, with `high`, the high one;
/// kFlip of its bits are turned. Of all eight nibbles, so that the compiler makes those of both kinds at once. The
/// selector of a byte permute has four bits a byte, too, of which three choose.
template <std::uint8_t kFlip, class Table>
__device__ __forceinline__ std::uint32_t look_up(const Table& table, std::uint32_t word, bool high) {
  std::uint32_t bytes[4] = {};
#pragma unroll
  for (int i = 0; i < 16; ++i) bytes[i / 4] |= std::uint32_t(table[i] ^ kFlip) << (8 * (i % 4));
  const std::uint32_t three = word & 0x77777777u, fourth = masked_or(word >> 1, 0x44444444u, 0x32103210u);
  std::uint32_t values[2];  // of the nibbles of two bytes each
#pragma unroll
  for (int i = 0; i < 2; ++i)
    values[i] = pick_bytes(pick_bytes(bytes[0], bytes[1], three >> (16 * i)),
                           pick_bytes(bytes[2], bytes[3], three >> (16 * i)), fourth >> (16 * i));
  return __byte_perm(values[0], values[1], high ? 0x7531 : 0x6420);
}

}  // namespace mlx_native::cuda
