#include "formats/iq4_xs.h"

#include "formats/encode.h"
#include "formats/iq4_search.h"
#include "formats/scale_search.h"

namespace mlx_native {

template <>
void encode_blocks<IQ4_XS>(const float* values, const float* importance, uint64_t n_blocks, IQ4_XS::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const ScaleSearch<Iq4Grid, 32, 31> best(values + 256 * n, importance ? importance + 256 * n : nullptr);
    IQ4_XS::Block block{};
    block.d = best.d;
    for (int g = 0; g < 8; ++g) {
      const int scale = best.scale[g] + 32;
      block.scales_low[g / 2] |= uint8_t((scale & 15) << 4 * (g % 2));
      block.scales_high = uint16_t(block.scales_high | (scale >> 4) << 2 * g);
    }
    for (int i = 0; i < 128; ++i) {
      const int8_t* const low = best.codes + 32 * (i / 16) + i % 16;
      block.qs[i] = uint8_t(Iq4Grid::index(low[0]) | Iq4Grid::index(low[16]) << 4);
    }
    blocks[n] = block;
  }
}

}  // namespace mlx_native
