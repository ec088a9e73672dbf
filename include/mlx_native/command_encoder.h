#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"
#include "mlx_native/error.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

namespace detail {
class Commands;
struct EncoderAccess;
}  // namespace detail

/// Records commands, then runs them. A command that reads or writes bytes which an earlier one writes, or writes bytes
/// which an earlier one reads, runs after it; others may overlap. Encoders that share a buffer which one of them writes
/// run in the order of their commits. Buffers live until the last command that uses them is done. Dropping an encoder
/// drops what was not committed.
///
/// Used by one thread at a time. Movable: whatever can fail is InvalidArgument for an encoder that was moved from.
class CommandEncoder {
 public:
  CommandEncoder(CommandEncoder&&) noexcept;
  CommandEncoder& operator=(CommandEncoder&&) noexcept;
  ~CommandEncoder();

  /// Records a user's kernel of the registry; InvalidArgument for a built-in one, which its op records. `args` (at most
  /// 256 bytes) is copied and passed to the kernel; pointers in it come from device_address(). Every buffer that the
  /// kernel accesses must be declared in `reads` or `writes`: order and lifetime follow from that. Errors as
  /// KernelRegistry::get.
  Result<void> dispatch(const KernelRegistry& registry, std::string_view kernel, std::span<const std::byte> args,
                        std::span<const MlxBuffer> reads, std::span<const MlxBuffer> writes);

  /// The address of the view's first byte on the encoder's device, to be put into `args`. InvalidArgument for a buffer
  /// of another device.
  Result<void*> device_address(const MlxBuffer& buffer) const;

  /// Starts what was recorded, which may be nothing. On the CPU the commands have run when this returns. After an error
  /// the encoder is poisoned: every further call returns that error.
  Result<void> commit();
  /// Waits for everything committed and reports its failure, if any.
  Result<void> wait();
  Result<void> commit_and_wait();

  /// Commands recorded since creation, and the barriers that their reads and writes made necessary.
  std::size_t dispatch_count() const;
  std::size_t barrier_count() const;
  /// Names of the kernels recorded since creation, in order.
  std::vector<std::string_view> dispatched_kernels() const;

 private:
  friend struct detail::EncoderAccess;
  explicit CommandEncoder(std::unique_ptr<detail::Commands> commands);
  std::unique_ptr<detail::Commands> commands_;
};

}  // namespace mlx_native
