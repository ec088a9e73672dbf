#include "formats/iq4_nl.h"

#include "formats/encode.h"
#include "formats/iq4_search.h"

namespace mlx_native {

template <>
void encode_blocks<IQ4_NL>(const float* values, const float* importance, uint64_t n_blocks, IQ4_NL::Block* blocks) {
  encode_one_scale<IQ4_NL, Iq4Grid>(values, importance, n_blocks, blocks, [](IQ4_NL::Block& block, const int8_t* q) {
    for (int i = 0; i < 16; ++i) block.qs[i] = uint8_t(Iq4Grid::index(q[i]) | Iq4Grid::index(q[i + 16]) << 4);
  });
}

}  // namespace mlx_native
