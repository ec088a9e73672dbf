#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

void add_rows(const RowSink& sink) {
#if !MLXN_PRODUCTS_ALONE
  add_attention_rows(sink);
  add_elementwise_rows(sink);
  add_moe_rows(sink);
  add_norm_rows(sink);
  add_position_rows(sink);
  add_sampling_rows(sink);
  add_checksum_rows(sink);
#endif
#define MLXN_FORMAT(Name, ggml_name) add_##Name##_rows(sink);
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
}

}  // namespace mlx_native::cpu::MLXN_ISA
