#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace [[gnu::visibility("default")]] mlx_native {

/// What went wrong. The names are those of the reference system.
enum class ErrorKind {
  DeviceNotFound,          ///< the machine has no device of that backend, or the build has no such backend
  CommandBufferError,      ///< a device reported a failure while it ran commands; the only transient kind
  ShaderCompilationError,  ///< a kernel could not be built or loaded on this device
  BufferAllocationError,   ///< out of memory
  ResidencySetError,       ///< memory could not be made resident
  InvalidArgument,         ///< the caller's input; the text says what was given and what was needed
  KernelNotFound,          ///< no kernel of that name, or none for that op, format and device
  IoError,                 ///< open, read, write or map failed
  SafetensorsError,        ///< malformed safetensors file
  QuantConfigError,        ///< malformed quantization block in a config.json
  UnsupportedDtype,        ///< a known dtype that this call cannot use
  GgufParseError,          ///< malformed GGUF file, or metadata that a model cannot use
};

/// "InvalidArgument" for ErrorKind::InvalidArgument, and so on.
std::string_view error_kind_name(ErrorKind kind);

/// An error value. No exception and no abort crosses the API.
struct MlxError {
  ErrorKind kind;
  std::string message;

  /// Whether the same call may succeed later: true for CommandBufferError alone.
  bool is_transient() const { return kind == ErrorKind::CommandBufferError; }
};

/// A value or an error. Test a Result<void> with has_value(): the tl::expected of Debian 12 has no value() for void.
template <class T>
using Result = tl::expected<T, MlxError>;

}  // namespace mlx_native
