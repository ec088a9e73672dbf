// Any bytes decoded as blocks of a format: the first byte chooses the format, the rest is whole blocks and a tail.
#include <cstddef>
#include <cstdint>
#include <span>

#include "mlx_native/ggml_type.h"
#include "mlx_native/quantize.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mlx_native;
  if (size == 0) return 0;
  const auto type = weight_formats()[data[0] % weight_formats().size()];
  const auto layout = *ggml_layout(type);
  const std::span bytes(data + 1, size - 1);
  const auto values = dequantize(type, bytes);
  const bool whole = bytes.size() % layout.block_bytes == 0;
  if (values.has_value() != whole) __builtin_trap();
  if (values && values->size() != bytes.size() / layout.block_bytes * layout.block_values) __builtin_trap();
  return 0;
}
