#pragma once

#include <cstddef>
#include <memory>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// Reuses buffers by size class (the next power of two, at least 256 bytes). Meant for activations; weights should be
/// allocated exactly. Thread-safe; copies are the same pool. Reused memory keeps its old contents.
class MlxBufferPool {
 public:
  explicit MlxBufferPool(MlxDevice device);
  MlxBufferPool(const MlxBufferPool&) = default;
  MlxBufferPool& operator=(const MlxBufferPool&) = default;

  /// A view of exactly `bytes` bytes. Errors as MlxDevice::alloc_buffer.
  Result<MlxBuffer> alloc(std::size_t bytes, DType dtype, Shape shape);
  /// Gives `buffer` back. InvalidArgument where it is not of this pool or was given back already.
  Result<void> release(const MlxBuffer& buffer);
  /// Gives back everything that is handed out.
  void reset();
  /// Frees the memory of everything that is not handed out.
  void clear();

  std::size_t free_count() const;
  std::size_t free_bytes() const;
  std::size_t in_use_count() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mlx_native
