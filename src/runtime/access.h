// The runtime's own view of the public handles.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"
#include "runtime/commands.h"
#include "runtime/device_base.h"

namespace mlx_native::detail {

struct BufferAccess {
  static const std::shared_ptr<Storage>& storage(const MlxBuffer& buffer) { return buffer.storage_; }
  static MlxBuffer make(std::shared_ptr<Storage> storage, DType dtype, Shape shape, std::size_t byte_offset,
                        std::size_t byte_len);
  /// The bytes that `shape` of `dtype` takes. InvalidArgument where `bytes` do not hold them, and where they are none.
  static Result<std::size_t> needed_bytes(std::size_t bytes, DType dtype, const Shape& shape);
  /// Address of the view's first byte for kernels.
  static std::byte* address(const MlxBuffer& buffer) { return buffer.storage_->device_address() + buffer.byte_offset_; }
  static Use use(const MlxBuffer& buffer, bool write) {
    return {buffer.storage_, buffer.byte_offset_, buffer.byte_offset_ + buffer.byte_len_, write};
  }
};

struct DeviceAccess {
  static const std::shared_ptr<Device>& device(const MlxDevice& device) { return device.device_; }
};

struct RegistryAccess {
  /// The kernel to use for a problem: the forced one of this op and format, else the first in the table whose accuracy
  /// suffices and that supports `args`. KernelNotFound names op, format and device.
  static Result<std::shared_ptr<const Kernel>> select(const KernelRegistry& registry, const MlxDevice& device, Op op,
                                                      std::optional<GgmlType> format, Precision precision,
                                                      const void* args);
  /// Whether a kernel of that op and format is forced for the device's backend.
  static bool forces(const KernelRegistry& registry, const MlxDevice& device, Op op, std::optional<GgmlType> format);
  /// The first kernel in the table of that op and format; null: none.
  static std::shared_ptr<const Kernel> first(Backend backend, Op op, std::optional<GgmlType> format = {});
  static Result<std::shared_ptr<const Kernel>> get(const KernelRegistry& registry, std::string_view name,
                                                   const std::shared_ptr<Device>& device);
};

struct EncoderAccess {
  static CommandEncoder make(std::unique_ptr<Commands> commands) { return CommandEncoder(std::move(commands)); }
  static bool is_empty(const CommandEncoder& encoder) { return !encoder.commands_; }
  static Commands& commands(const CommandEncoder& encoder) { return *encoder.commands_; }
  /// What to answer for an empty one.
  static tl::unexpected<MlxError> moved_from() {
    return tl::unexpected(MlxError{ErrorKind::InvalidArgument, "the encoder is empty: it was moved from"});
  }
  /// Takes the commands out; the encoder is left poisoned with `why`.
  static std::unique_ptr<Commands> take(CommandEncoder& encoder, MlxError why) {
    return std::exchange(encoder.commands_, std::make_unique<Commands>(encoder.commands_->device(), std::move(why)));
  }
};

}  // namespace mlx_native::detail
