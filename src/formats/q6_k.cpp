#include "formats/q6_k.h"

#include "formats/encode.h"
#include "formats/scale_search.h"

namespace mlx_native {

template <>
void encode_blocks<Q6_K>(const float* values, const float* importance, uint64_t n_blocks, Q6_K::Block* blocks) {
  for (uint64_t n = 0; n < n_blocks; ++n) {
    const ScaleSearch<Integers<-32, 31>, 16, 127> best(values + 256 * n, importance ? importance + 256 * n : nullptr);
    Q6_K::Block block{};
    block.d = best.d;
    for (int g = 0; g < 16; ++g) block.scales[g] = int8_t(best.scale[g]);
    for (int i = 0; i < 256; ++i) {
      const int code = best.codes[i] + 32;
      const int half = i / 128, quarter = i / 32 % 4;
      block.ql[64 * half + 32 * (quarter % 2) + i % 32] |= uint8_t((code & 15) << 4 * (quarter / 2));
      block.qh[32 * half + i % 32] |= uint8_t((code >> 4) << 2 * quarter);
    }
    blocks[n] = block;
  }
}

}  // namespace mlx_native
