#include "formats/q5_k.h"

#include "formats/encode.h"
#include "formats/scale_min_search.h"

namespace mlx_native {

template <>
void encode_blocks<Q5_K>(const float* values, const float* importance, uint64_t n_blocks, Q5_K::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const auto best = ScaleMinSearch<31, 32, 63>::run(values + 256 * n, importance ? importance + 256 * n : nullptr);
    Q5_K::Block block{};
    block.d = best.d;
    block.dmin = best.dmin;
    pack_scale_min6(best.scale, best.min, block.scales);
    for (int i = 0; i < 128; ++i) {
      const uint8_t* pair = best.codes + 64 * (i / 32) + i % 32;
      block.qs[i] = uint8_t((pair[0] & 15) | (pair[32] & 15) << 4);
    }
    for (int i = 0; i < 256; ++i) block.qh[i % 32] |= uint8_t((best.codes[i] >> 4) << i / 32);
    blocks[n] = block;
  }
}

}  // namespace mlx_native
