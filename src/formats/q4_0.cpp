#include "formats/q4_0.h"

#include "formats/encode.h"
#include "formats/search.h"

namespace mlx_native {

template <>
void encode_blocks<Q4_0>(const float* values, const float* importance, uint64_t n_blocks, Q4_0::Block* blocks) {
  encode_one_scale<Q4_0, Integers<-8, 7>>(values, importance, n_blocks, blocks,
                                          [](Q4_0::Block& block, const int8_t* q) {
                                            for (int i = 0; i < 16; ++i)
                                              block.qs[i] = uint8_t((q[i] + 8) | (q[i + 16] + 8) << 4);
                                          });
}

}  // namespace mlx_native
