// CUDA's statuses as errors.
#pragma once

#include <cuda_runtime_api.h>

#include "core/error.h"

namespace mlx_native::cuda {

/// `what` says what was being done: "launch of cuda.simt.rms_norm".
inline Result<void> check(cudaError_t status, std::string_view what, ErrorKind kind = ErrorKind::CommandBufferError) {
  if (status == cudaSuccess) return {};
  (void)cudaGetLastError();  // else the next call of this thread reports it again
  return error(kind, "{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

}  // namespace mlx_native::cuda
