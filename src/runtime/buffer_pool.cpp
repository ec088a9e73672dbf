#include "mlx_native/buffer_pool.h"

#include <bit>
#include <map>
#include <mutex>

#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native {

struct MlxBufferPool::State {
  explicit State(MlxDevice d) : device(std::move(d)) {}
  MlxDevice device;
  mutable std::mutex mutex;
  std::multimap<std::size_t, MlxBuffer> free;  // by size
  std::map<const detail::Storage*, MlxBuffer> in_use;
};

MlxBufferPool::MlxBufferPool(MlxDevice device) : state_(std::make_shared<State>(std::move(device))) {}

Result<MlxBuffer> MlxBufferPool::alloc(std::size_t bytes, DType dtype, Shape shape) {
  constexpr std::size_t kLargest = std::size_t{1} << 62;
  if (bytes == 0 || bytes > kLargest) return invalid("a pool cannot hand out {} bytes", bytes);
  MLXN_TRY(detail::BufferAccess::needed_bytes(bytes, dtype, shape));
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(bytes, 256));
  const std::lock_guard lock(state_->mutex);
  auto it = state_->free.find(size);
  if (it == state_->free.end()) {
    MLXN_ASSIGN(MlxBuffer fresh, state_->device.alloc_buffer(size, DType::U8, {size}));
    it = state_->free.emplace(size, std::move(fresh));
  }
  const auto storage = detail::BufferAccess::storage(it->second);
  state_->in_use.emplace(storage.get(), std::move(it->second));
  state_->free.erase(it);
  return detail::BufferAccess::make(storage, dtype, std::move(shape), 0, bytes);
}

Result<void> MlxBufferPool::release(const MlxBuffer& buffer) {
  const std::lock_guard lock(state_->mutex);
  const auto it = state_->in_use.find(detail::BufferAccess::storage(buffer).get());
  if (it == state_->in_use.end()) return invalid("release: the buffer is not of this pool, or was released already");
  state_->free.emplace(it->second.byte_len(), std::move(it->second));
  state_->in_use.erase(it);
  return {};
}

void MlxBufferPool::reset() {
  const std::lock_guard lock(state_->mutex);
  for (auto& [storage, buffer] : state_->in_use) state_->free.emplace(buffer.byte_len(), std::move(buffer));
  state_->in_use.clear();
}

void MlxBufferPool::clear() {
  const std::lock_guard lock(state_->mutex);
  state_->free.clear();
}

std::size_t MlxBufferPool::free_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->free.size();
}

std::size_t MlxBufferPool::free_bytes() const {
  const std::lock_guard lock(state_->mutex);
  std::size_t bytes = 0;
  for (const auto& [size, buffer] : state_->free) bytes += size;
  return bytes;
}

std::size_t MlxBufferPool::in_use_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->in_use.size();
}

}  // namespace mlx_native
