#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "mlx_native/device.h"

namespace mlx_native {

/// A buffer over `bytes` of a mapped file that `owner` keeps mapped: MlxDevice::import_host, except that bytes at an
/// odd place (files may align to less than kernels need) are copied.
Result<MlxBuffer> load_bytes(const MlxDevice& device, std::span<const std::uint8_t> bytes,
                             std::shared_ptr<const void> owner, DType dtype, Shape shape);

}  // namespace mlx_native
