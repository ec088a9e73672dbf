// What every op checks of its buffers before anything is recorded.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "core/error.h"
#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"

namespace mlx_native::ops {

/// A buffer under its name in the op's contract.
struct Named {
  std::string_view name;
  const MlxBuffer& buffer;
};

/// InvalidArgument unless `value` > 0.
Result<void> check_extent(std::string_view op, std::string_view name, std::uint64_t value);

/// InvalidArgument unless the encoder and the device belong together and the buffer is of that device, holds `dtype`,
/// starts at a multiple of its element size and has at least the product of `extents` elements.
Result<void> check_buffer(std::string_view op, const CommandEncoder& encoder, const MlxDevice& device, Named buffer,
                          DType dtype, std::initializer_list<std::uint64_t> extents);

/// check_buffer, and writable.
Result<void> check_output(std::string_view op, const CommandEncoder& encoder, const MlxDevice& device, Named buffer,
                          DType dtype, std::initializer_list<std::uint64_t> extents);

/// InvalidArgument where the two share bytes.
Result<void> check_apart(std::string_view op, Named output, Named input);

/// InvalidArgument where the two share bytes without being the same view.
Result<void> check_apart_or_same(std::string_view op, Named output, Named input);

}  // namespace mlx_native::ops
