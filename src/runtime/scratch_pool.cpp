#include "runtime/scratch_pool.h"

#include <algorithm>

#include "runtime/device_base.h"

namespace mlx_native::detail {

Result<std::shared_ptr<Storage>> ScratchPool::take(Device& device, std::size_t bytes) {
  // Powers of two from one page on: few sizes, so that what one op gave back fits the next.
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(bytes, 4096));
  std::shared_ptr<Storage> storage;
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = free_.find(size); it != free_.end()) {
      storage = std::move(it->second);
      free_.erase(it);
    }
  }
  if (!storage) {
    auto fresh = device.allocate(size);
    if (!fresh) return fresh;
    storage = std::move(*fresh);
  }
  Storage* const raw = storage.get();
  return std::shared_ptr<Storage>(raw, [pool = weak_from_this(), storage = std::move(storage)](Storage*) mutable {
    if (const auto alive = pool.lock()) {
      const std::lock_guard lock(alive->mutex_);
      const std::size_t key = storage->size();
      alive->free_.emplace(key, std::move(storage));
    }
  });
}

}  // namespace mlx_native::detail
