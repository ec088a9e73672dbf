#include "mlx_native/buffer.h"

#include "core/checked.h"
#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native {

namespace {
tl::unexpected<MlxError> moved_from() { return invalid("the buffer is empty: it was moved from"); }
}  // namespace

namespace detail {
MlxBuffer BufferAccess::make(std::shared_ptr<Storage> storage, DType dtype, Shape shape, std::size_t byte_offset,
                             std::size_t byte_len) {
  MlxBuffer buffer;
  buffer.storage_ = std::move(storage);
  buffer.dtype_ = dtype;
  buffer.shape_ = std::move(shape);
  buffer.byte_offset_ = byte_offset;
  buffer.byte_len_ = byte_len;
  return buffer;
}

Result<std::size_t> BufferAccess::needed_bytes(std::size_t bytes, DType dtype, const Shape& shape) {
  const std::size_t element = dtype_size(dtype);
  if (element == 0) return invalid("dtype is {}, which is none", static_cast<int>(dtype));
  const auto count = checked_product(shape);
  const auto needed = count ? checked_mul(*count, element) : std::nullopt;
  if (needed == 0u) return invalid("a shape of no elements; at least one is needed");
  if (!needed || *needed > bytes)
    return invalid("{} bytes given, {} elements of {} need {}", bytes,
                   count ? fmt::to_string(*count) : "more than 2^64", dtype_name(dtype),
                   needed ? fmt::to_string(*needed) : "more than 2^64");
  return *needed;
}
}  // namespace detail

std::size_t MlxBuffer::element_count() const {
  std::size_t count = 1;
  for (const std::size_t extent : shape_) count *= extent;
  return count;
}

bool MlxBuffer::is_writable() const { return storage_ && storage_->writable(); }

Result<std::span<std::byte>> MlxBuffer::host_bytes(bool dtype_ok, std::size_t size, std::size_t alignment,
                                                   bool write) const {
  if (!storage_) return moved_from();
  if (!dtype_ok)
    return invalid("a buffer of {} cannot be viewed as elements of {} bytes of another type", dtype_name(dtype_), size);
  if (write && !storage_->writable()) return invalid("a read-only buffer cannot be viewed for writing");
  if (byte_len_ % size != 0)
    return invalid("a view of {} bytes does not hold whole elements of {} bytes", byte_len_, size);
  MLXN_ASSIGN(std::byte* const base, storage_->host(write));
  if (reinterpret_cast<std::uintptr_t>(base + byte_offset_) % alignment != 0)
    return invalid("a view at byte {} is not aligned to {} bytes", byte_offset_, alignment);
  return std::span(base + byte_offset_, byte_len_);
}

Result<MlxBuffer> MlxBuffer::slice_view(std::size_t byte_offset, std::size_t n_elements) const {
  if (!storage_) return moved_from();
  const std::size_t element = dtype_size(dtype_);
  if (n_elements == 0) return invalid("slice_view: zero elements");
  if (byte_offset % element != 0)
    return invalid("slice_view: byte offset {} is not a multiple of {} ({})", byte_offset, element, dtype_name(dtype_));
  if (byte_offset > byte_len_ || n_elements > (byte_len_ - byte_offset) / element)
    return invalid("slice_view: {} elements of {} from byte {} do not fit a view of {} bytes", n_elements,
                   dtype_name(dtype_), byte_offset, byte_len_);
  return detail::BufferAccess::make(storage_, dtype_, {n_elements}, byte_offset_ + byte_offset, n_elements * element);
}

Result<MlxBuffer> MlxBuffer::reinterpret(DType dtype, Shape shape) const {
  if (!storage_) return moved_from();
  MLXN_ASSIGN(const std::size_t bytes, detail::BufferAccess::needed_bytes(byte_len_, dtype, shape));
  return detail::BufferAccess::make(storage_, dtype, std::move(shape), byte_offset_, bytes);
}

}  // namespace mlx_native
