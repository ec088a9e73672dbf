// Encoding on the host: one specialisation per format, in the format's own .cpp.
#pragma once

#include "formats/list.h"

namespace mlx_native {

/// Encodes n_blocks * F::kValues finite values, weighing the squared error of each by `importance` (finite, >= 0) where
/// it is not null. Every block decodes to finite values; what lies beyond the format's range saturates.
template <class F>
void encode_blocks(const float* values, const float* importance, uint64_t n_blocks, typename F::Block* blocks);

#define MLXN_FORMAT(Name, ggml_name) \
  template <>                        \
  void encode_blocks<Name>(const float* values, const float* importance, uint64_t n_blocks, Name::Block* blocks);
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

}  // namespace mlx_native
