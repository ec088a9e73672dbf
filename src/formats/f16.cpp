#include "formats/f16.h"

#include <algorithm>

#include "core/f16.h"
#include "formats/encode.h"

namespace mlx_native {

template <>
void encode_blocks<F16>(const float* values, const float*, uint64_t n_blocks, F16::Block* blocks) {
  std::transform(values, values + n_blocks, blocks, float_to_finite_half);
}

}  // namespace mlx_native
