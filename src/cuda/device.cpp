#include "cuda/device.h"

#include "cuda/check.h"
#include "cuda/queue.h"
#include "cuda/storage.h"

namespace mlx_native::cuda {

Result<std::shared_ptr<detail::Device>> CudaDevice::create(const DeviceOptions& options) {
  int count = 0;
  MLXN_TRY(check(cudaGetDeviceCount(&count), "looking for CUDA devices", ErrorKind::DeviceNotFound));
  if (options.index >= static_cast<std::uint32_t>(count))
    return error(ErrorKind::DeviceNotFound, "CUDA device {} was asked for, there are {}", options.index, count);
  const int index = static_cast<int>(options.index);
  cudaDeviceProp properties{};
  MLXN_TRY(check(cudaGetDeviceProperties(&properties, index), "asking a CUDA device for its properties",
                 ErrorKind::DeviceNotFound));
  const Machine machine{.multiprocessors = static_cast<std::uint32_t>(properties.multiProcessorCount),
                        .shared_bytes = properties.sharedMemPerBlockOptin,
                        .hopper = properties.major >= 9};
  auto device = std::make_shared<CudaDevice>(properties.name, index, machine, properties.totalGlobalMem);
  if (auto used = device->use(); !used) return error(ErrorKind::DeviceNotFound, "{}", used.error().message);
  MLXN_TRY(check(cudaStreamCreateWithFlags(&device->transfer_, cudaStreamNonBlocking), "creation of a stream",
                 ErrorKind::DeviceNotFound));
  return device;
}

CudaDevice::~CudaDevice() {
  if (!use()) return;
  for (const cudaStream_t stream : idle_streams_) (void)cudaStreamDestroy(stream);
  if (transfer_) (void)cudaStreamDestroy(transfer_);
}

std::size_t CudaDevice::free_memory() const {
  std::size_t free = 0, total = 0;
  return use() && cudaMemGetInfo(&free, &total) == cudaSuccess ? free : 0;
}

Result<std::shared_ptr<detail::Storage>> CudaDevice::allocate(std::size_t bytes) {
  return CudaStorage::allocate(*this, bytes);
}

Result<std::shared_ptr<detail::Storage>> CudaDevice::import_host(std::span<const std::byte> bytes,
                                                                 std::shared_ptr<const void> owner) {
  return CudaStorage::import(*this, bytes, std::move(owner));
}

Result<std::unique_ptr<detail::Queue>> CudaDevice::create_queue() {
  MLXN_ASSIGN(const cudaStream_t stream, take_stream());
  return std::make_unique<CudaQueue>(*this, stream);
}

Result<void> CudaDevice::use() const { return check(cudaSetDevice(index_), "choosing a CUDA device"); }

Result<cudaStream_t> CudaDevice::take_stream() {
  {
    const std::lock_guard lock(streams_mutex_);
    if (!idle_streams_.empty()) {
      const cudaStream_t stream = idle_streams_.back();
      idle_streams_.pop_back();
      return stream;
    }
  }
  MLXN_TRY(use());
  cudaStream_t stream = nullptr;
  MLXN_TRY(check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creation of a stream"));
  return stream;
}

void CudaDevice::give_back(cudaStream_t stream) {
  const std::lock_guard lock(streams_mutex_);
  idle_streams_.push_back(stream);
}

}  // namespace mlx_native::cuda
