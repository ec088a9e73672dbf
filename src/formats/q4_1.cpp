#include "formats/q4_1.h"

#include "formats/encode.h"
#include "formats/search.h"

namespace mlx_native {

template <>
void encode_blocks<Q4_1>(const float* values, const float* importance, uint64_t n_blocks, Q4_1::Block* blocks) {
  encode_lines<Q4_1>(values, importance, n_blocks, blocks, [](Q4_1::Block& block, const uint8_t* q) {
    for (int i = 0; i < 16; ++i) block.qs[i] = uint8_t(q[i] | q[i + 16] << 4);
  });
}

}  // namespace mlx_native
