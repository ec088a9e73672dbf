#include "core/error.h"

namespace mlx_native {

std::string_view error_kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::DeviceNotFound: return "DeviceNotFound";
    case ErrorKind::CommandBufferError: return "CommandBufferError";
    case ErrorKind::ShaderCompilationError: return "ShaderCompilationError";
    case ErrorKind::BufferAllocationError: return "BufferAllocationError";
    case ErrorKind::ResidencySetError: return "ResidencySetError";
    case ErrorKind::InvalidArgument: return "InvalidArgument";
    case ErrorKind::KernelNotFound: return "KernelNotFound";
    case ErrorKind::IoError: return "IoError";
    case ErrorKind::SafetensorsError: return "SafetensorsError";
    case ErrorKind::QuantConfigError: return "QuantConfigError";
    case ErrorKind::UnsupportedDtype: return "UnsupportedDtype";
    case ErrorKind::GgufParseError: return "GgufParseError";
  }
  return "unknown";
}

}  // namespace mlx_native
