#include "formats/q5_1.h"

#include "formats/encode.h"
#include "formats/search.h"

namespace mlx_native {

template <>
void encode_blocks<Q5_1>(const float* values, const float* importance, uint64_t n_blocks, Q5_1::Block* blocks) {
  encode_lines<Q5_1>(values, importance, n_blocks, blocks, [](Q5_1::Block& block, const uint8_t* q) {
    uint32_t fifth = 0;
    for (int i = 0; i < 16; ++i) block.qs[i] = uint8_t((q[i] & 15) | (q[i + 16] & 15) << 4);
    for (int i = 0; i < 32; ++i) fifth |= uint32_t(q[i] >> 4) << i;
    block.qh[0] = uint16_t(fifth);
    block.qh[1] = uint16_t(fifth >> 16);
  });
}

}  // namespace mlx_native
