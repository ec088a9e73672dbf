// From a validated op to a command: picks the kernel, adds scratch, records.
#pragma once

#include <optional>

#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native::detail {

/// Addresses of views as kernels take them.
template <class T>
const T* in(const MlxBuffer& buffer) {
  return reinterpret_cast<const T*>(BufferAccess::address(buffer));
}
template <class T>
T* out(const MlxBuffer& buffer) {
  return reinterpret_cast<T*>(BufferAccess::address(buffer));
}

/// Where an op is encoded to, and what it is called in messages.
struct Target {
  CommandEncoder& encoder;
  const KernelRegistry& registry;
  const MlxDevice& device;
};

/// Chooses a kernel for `args` and records it. `uses` says what the pointers in `args` read and write.
template <class Args>
Result<void> encode(const Target& target, Op op, std::optional<GgmlType> format, Precision precision, Args args,
                    std::vector<Use> uses) {
  MLXN_ASSIGN(auto kernel, RegistryAccess::select(target.registry, target.device, op, format, precision, &args));
  Commands& commands = EncoderAccess::commands(target.encoder);
  if constexpr (requires { args.scratch; }) {
    args.scratch = nullptr;
    if (const std::size_t bytes = kernel->scratch_bytes ? kernel->scratch_bytes(&args) : 0) {
      MLXN_ASSIGN(std::byte* const scratch, commands.scratch(bytes, uses));
      args.scratch = reinterpret_cast<std::uint8_t*>(scratch);
    }
  }
  return commands.add(std::move(kernel), std::as_bytes(std::span(&args, 1)), std::move(uses));
}

}  // namespace mlx_native::detail
