#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "cuda/moment.h"
#include "gpu/mirrored_storage.h"

namespace mlx_native::cuda {

class CudaDevice;

/// Device memory that remembers its latest uses, so that streams run in the order that they need.
class CudaStorage final : public gpu::MirroredStorage {
 public:
  /// Zeros.
  static Result<std::shared_ptr<CudaStorage>> allocate(CudaDevice& device, std::size_t bytes);
  /// A copy of `bytes`, made now.
  static Result<std::shared_ptr<CudaStorage>> import(CudaDevice& device, std::span<const std::byte> bytes,
                                                     std::shared_ptr<const void> owner);
  CudaStorage(CudaDevice& device, std::byte* memory, std::size_t bytes);
  CudaStorage(CudaDevice& device, std::byte* memory, std::span<const std::byte> bytes,
              std::shared_ptr<const void> owner);
  ~CudaStorage() override;

  std::byte* device_address() override { return memory_; }

  /// Makes `stream` ready to use the memory: after conflicting uses by other streams, with the host's newest bytes.
  Result<void> begin_use(cudaStream_t stream, bool write);
  /// Remembers that uses on `stream` end at `moment`.
  void end_use(cudaStream_t stream, const std::shared_ptr<const Moment>& moment, bool write);

 protected:
  Result<void> upload(const std::byte* host, void* queue) override;
  Result<void> download(std::byte* host) override;

 private:
  struct Reader {
    cudaStream_t stream;
    std::shared_ptr<const Moment> moment;
  };
  /// Holds `stream` back until the last write, and, before a write, until the last reads are done.
  Result<void> order(cudaStream_t stream, bool write);

  CudaDevice& device_;
  std::byte* memory_;
  std::mutex mutex_;
  std::shared_ptr<const Moment> last_write_;
  std::vector<Reader> readers_;  // since the last write, at most one per stream
  bool uploaded_ = false;        // since begin_use
};

}  // namespace mlx_native::cuda
