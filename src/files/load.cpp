#include "files/load.h"

#include <cstring>
#include <utility>

#include "core/error.h"

namespace mlx_native {

namespace {

// What formats promise their kernels: blocks are read by words relative to a 16-byte boundary.
constexpr std::uintptr_t kTensorAlignment = 16;

}  // namespace

Result<MlxBuffer> load_bytes(const MlxDevice& device, std::span<const std::uint8_t> bytes,
                             std::shared_ptr<const void> owner, DType dtype, Shape shape) {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kTensorAlignment == 0)
    return device.import_host(std::as_bytes(bytes), std::move(owner), dtype, std::move(shape));
  MLXN_ASSIGN(auto buffer, device.alloc_buffer(bytes.size(), dtype, std::move(shape)));
  MLXN_ASSIGN(const auto target, buffer.as_mut_slice<std::byte>());
  std::memcpy(target.data(), bytes.data(), bytes.size());
  return buffer;
}

}  // namespace mlx_native
