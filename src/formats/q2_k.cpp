#include "formats/q2_k.h"

#include "formats/encode.h"
#include "formats/scale_min_search.h"

namespace mlx_native {

template <>
void encode_blocks<Q2_K>(const float* values, const float* importance, uint64_t n_blocks, Q2_K::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const auto best = ScaleMinSearch<3, 16, 15>::run(values + 256 * n, importance ? importance + 256 * n : nullptr);
    Q2_K::Block block{};
    block.d = best.d;
    block.dmin = best.dmin;
    for (int g = 0; g < 16; ++g) block.scales[g] = uint8_t(best.scale[g] | best.min[g] << 4);
    for (int i = 0; i < 256; ++i) block.qs[32 * (i / 128) + i % 32] |= uint8_t(best.codes[i] << 2 * (i / 32 % 4));
    blocks[n] = block;
  }
}

}  // namespace mlx_native
