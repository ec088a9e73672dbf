#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <vector>

#include "core/error.h"
#include "cuda/launch.h"
#include "runtime/device_base.h"

namespace mlx_native::cuda {

class CudaDevice final : public detail::Device {
 public:
  static Result<std::shared_ptr<detail::Device>> create(const DeviceOptions& options);
  CudaDevice(std::string name, int index, const Machine& machine, std::size_t memory)
      : Device(Backend::Cuda, std::move(name)), index_(index), machine_(machine), memory_(memory) {}
  ~CudaDevice() override;

  std::uint32_t parallelism() const override { return machine_.multiprocessors; }
  std::size_t total_memory() const override { return memory_; }
  std::size_t free_memory() const override;
  Result<std::shared_ptr<detail::Storage>> allocate(std::size_t bytes) override;
  Result<std::shared_ptr<detail::Storage>> import_host(std::span<const std::byte> bytes,
                                                       std::shared_ptr<const void> owner) override;
  Result<std::unique_ptr<detail::Queue>> create_queue() override;

  const Machine& machine() const { return machine_; }
  /// Makes this the current device of the calling thread, as every CUDA call needs.
  Result<void> use() const;
  /// For copies that the host waits for.
  cudaStream_t transfer_stream() const { return transfer_; }
  /// A stream for one queue, until it is given back.
  Result<cudaStream_t> take_stream();
  void give_back(cudaStream_t stream);
  /// Held from the ordering of a submission's buffers until its end is remembered in them.
  std::mutex& submitting() { return submitting_; }

 private:
  int index_;
  Machine machine_;
  std::size_t memory_;
  cudaStream_t transfer_ = nullptr;
  std::mutex submitting_, streams_mutex_;
  std::vector<cudaStream_t> idle_streams_;
};

}  // namespace mlx_native::cuda
