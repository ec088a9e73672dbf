#pragma once

#include <cuda_runtime_api.h>

#include <optional>

#include "cuda/device.h"

namespace mlx_native::cuda {

/// One stream. Its commands run in the order of submission, so barriers need nothing.
class CudaQueue final : public detail::Queue {
 public:
  CudaQueue(CudaDevice& device, cudaStream_t stream) : device_(device), stream_(stream) {}
  ~CudaQueue() override;

  /// A failure to launch is kept for wait().
  Result<void> submit(std::span<const detail::Command> commands) override;
  Result<void> wait() override;
  Result<std::unique_ptr<detail::Replay>> prepare(std::span<const detail::Command> commands) override;

 private:
  CudaDevice& device_;
  cudaStream_t stream_;
  std::optional<MlxError> failure_;
};

}  // namespace mlx_native::cuda
