#include "formats/q4_k.h"

#include "formats/encode.h"
#include "formats/scale_min_search.h"

namespace mlx_native {

template <>
void encode_blocks<Q4_K>(const float* values, const float* importance, uint64_t n_blocks, Q4_K::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const auto best = ScaleMinSearch<15, 32, 63>::run(values + 256 * n, importance ? importance + 256 * n : nullptr);
    Q4_K::Block& block = blocks[n];
    block.d = best.d;
    block.dmin = best.dmin;
    pack_scale_min6(best.scale, best.min, block.scales);
    for (int i = 0; i < 128; ++i) {
      const uint8_t* pair = best.codes + 64 * (i / 32) + i % 32;
      block.qs[i] = uint8_t(pair[0] | pair[32] << 4);
    }
  }
}

}  // namespace mlx_native
