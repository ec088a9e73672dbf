#include "formats/f32.h"

#include <algorithm>

#include "formats/encode.h"

namespace mlx_native {

template <>
void encode_blocks<F32>(const float* values, const float*, uint64_t n_blocks, F32::Block* blocks) {
  std::copy_n(values, n_blocks, blocks);
}

}  // namespace mlx_native
