#pragma once

#include <bit>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

#include "mlx_native/error.h"
#include "runtime/storage.h"

namespace mlx_native::detail {

class Device;

/// Memory for kernels, reused across commands. What is taken returns to the pool when its last owner drops it.
class ScratchPool : public std::enable_shared_from_this<ScratchPool> {
 public:
  /// At least `bytes` bytes with any contents.
  Result<std::shared_ptr<Storage>> take(Device& device, std::size_t bytes);

 private:
  std::mutex mutex_;
  std::multimap<std::size_t, std::shared_ptr<Storage>> free_;
};

}  // namespace mlx_native::detail
