#include "formats/q8_0.h"

#include <algorithm>

#include "formats/encode.h"
#include "formats/search.h"

namespace mlx_native {

template <>
void encode_blocks<Q8_0>(const float* values, const float* importance, uint64_t n_blocks, Q8_0::Block* blocks) {
  // -128 is a code too, but ggml writes none, and ik_llama.cpp on AVX-512 takes it for another value.
  encode_one_scale<Q8_0, Integers<-127, 127>>(values, importance, n_blocks, blocks,
                                              [](Q8_0::Block& block, const int8_t* q) {
                                                for (int i = 0; i < 32; ++i) block.qs[i] = uint8_t(q[i]);
                                              });
}

}  // namespace mlx_native
