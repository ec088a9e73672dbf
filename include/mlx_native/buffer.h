#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include "mlx_native/dtype.h"
#include "mlx_native/error.h"

namespace [[gnu::visibility("default")]] mlx_native {

namespace detail {
class Storage;
struct BufferAccess;
}  // namespace detail

/// A typed view of device memory. Copies share the memory, which lives until its last view and the last command that
/// uses it are gone. Threads that access the same contents must synchronise themselves.
///
/// Every size and offset is that of the view, never that of the allocation behind it. A call that is given a buffer
/// that was moved from returns InvalidArgument.
class MlxBuffer {
 public:
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::size_t element_count() const;
  /// Bytes of this view.
  std::size_t byte_len() const { return byte_len_; }
  /// Start of this view inside its allocation, in bytes.
  std::size_t byte_offset() const { return byte_offset_; }
  /// False for weights mapped from a file: they can be read by kernels and by as_slice, never written.
  bool is_writable() const;

  /// The view's elements on the host. Where the device holds newer bytes, waits for them and downloads them.
  /// InvalidArgument where T does not match dtype() (see dtype_holds), or the view is not aligned for T or does not
  /// hold a whole number of T; CommandBufferError where the download fails.
  template <class T>
  Result<std::span<const T>> as_slice() const {
    return host_bytes(dtype_holds<T>(dtype_), sizeof(T), alignof(T), false).map([](std::span<std::byte> b) {
      return std::span<const T>(reinterpret_cast<const T*>(b.data()), b.size() / sizeof(T));
    });
  }

  /// Like as_slice, for writing: commands recorded afterwards see the new bytes. Take a new span after each commit.
  /// Errors as as_slice; InvalidArgument for a read-only buffer.
  template <class T>
  Result<std::span<T>> as_mut_slice() {
    return host_bytes(dtype_holds<T>(dtype_), sizeof(T), alignof(T), true).map([](std::span<std::byte> b) {
      return std::span<T>(reinterpret_cast<T*>(b.data()), b.size() / sizeof(T));
    });
  }

  /// `n_elements` of this view from `byte_offset` (relative to this view, a multiple of the element size) on, as a
  /// one-dimensional view of the same memory. InvalidArgument where it does not fit.
  Result<MlxBuffer> slice_view(std::size_t byte_offset, std::size_t n_elements) const;

  /// The same memory under another shape or dtype. InvalidArgument where the bytes do not hold it.
  Result<MlxBuffer> reinterpret(DType dtype, Shape shape) const;

 private:
  friend struct detail::BufferAccess;
  MlxBuffer() = default;
  Result<std::span<std::byte>> host_bytes(bool dtype_ok, std::size_t size, std::size_t alignment, bool write) const;

  std::shared_ptr<detail::Storage> storage_;
  DType dtype_ = DType::U8;
  Shape shape_;
  std::size_t byte_offset_ = 0;
  std::size_t byte_len_ = 0;
};

}  // namespace mlx_native
