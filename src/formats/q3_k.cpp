#include "formats/q3_k.h"

#include "formats/encode.h"
#include "formats/scale_search.h"

namespace mlx_native {

template <>
void encode_blocks<Q3_K>(const float* values, const float* importance, uint64_t n_blocks, Q3_K::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const ScaleSearch<Integers<-4, 3>, 16, 31> best(values + 256 * n, importance ? importance + 256 * n : nullptr);
    Q3_K::Block block{};
    block.d = best.d;
    for (int g = 0; g < 16; ++g) {
      const int scale = best.scale[g] + 32;
      block.scales[g % 8] |= uint8_t((scale & 15) << 4 * (g / 8));
      block.scales[8 + g % 4] |= uint8_t((scale >> 4) << 2 * (g / 4));
    }
    for (int i = 0; i < 256; ++i) {
      const int code = best.codes[i] + 4;
      block.qs[32 * (i / 128) + i % 32] |= uint8_t((code & 3) << 2 * (i / 32 % 4));
      block.qh[i % 32] |= uint8_t((code >> 2) << i / 32);
    }
    blocks[n] = block;
  }
}

}  // namespace mlx_native
