// Tensors from one weight type to another, a batch of rows at a time, by several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "mlx_native/error.h"
#include "mlx_native/ggml_type.h"

namespace mlxn {

struct Conversion {
  std::span<const std::uint8_t> source;
  mlx_native::GgmlType from;
  mlx_native::GgmlType to;
  std::size_t row;  ///< values per row, a multiple of both types' blocks
  std::uint32_t threads;
};

/// Hands the converted bytes to `sink`, in order and in pieces, until it returns an error. The bytes do not depend on
/// the number of threads. Errors as mlx_native::dequantize, quantize and sink.
mlx_native::Result<void> convert(const Conversion& conversion,
                                 const std::function<mlx_native::Result<void>(std::span<const std::uint8_t>)>& sink);

}  // namespace mlxn
