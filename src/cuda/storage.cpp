#include "cuda/storage.h"

#include <algorithm>

#include "cuda/device.h"

namespace mlx_native::cuda {

namespace {
/// Device memory, not yet owned. Bulk copies read whole pieces of 16 bytes: what the last one has beyond `bytes` is
/// zero.
Result<std::byte*> allocate_bytes(CudaDevice& device, std::size_t bytes) {
  void* memory = nullptr;
  const std::size_t beyond = bytes % 16 ? 16 - bytes % 16 : 0;
  if (const auto allocated = check(cudaMalloc(&memory, std::max(bytes, bytes + beyond)), "cudaMalloc"); !allocated)
    return error(ErrorKind::BufferAllocationError, "out of memory on {}: {} bytes asked for, {} are free ({})",
                 device.name(), bytes, device.free_memory(), allocated.error().message);
  auto* const begin = static_cast<std::byte*>(memory);
  if (auto zeroed = check(cudaMemsetAsync(begin + bytes, 0, beyond, device.transfer_stream()), "zeroing a buffer");
      !zeroed) {
    (void)cudaFree(memory);
    return tl::unexpected(std::move(zeroed).error());
  }
  return begin;
}
}  // namespace

CudaStorage::CudaStorage(CudaDevice& device, std::byte* memory, std::size_t bytes)
    : MirroredStorage(&device, bytes), device_(device), memory_(memory) {}
CudaStorage::CudaStorage(CudaDevice& device, std::byte* memory, std::span<const std::byte> bytes,
                         std::shared_ptr<const void> owner)
    : MirroredStorage(&device, bytes, std::move(owner)), device_(device), memory_(memory) {}

CudaStorage::~CudaStorage() { (void)cudaFree(memory_); }

Result<std::shared_ptr<CudaStorage>> CudaStorage::allocate(CudaDevice& device, std::size_t bytes) {
  MLXN_TRY(device.use());
  MLXN_ASSIGN(std::byte* const memory, allocate_bytes(device, bytes));
  auto storage = std::make_shared<CudaStorage>(device, memory, bytes);
  const cudaStream_t stream = device.transfer_stream();
  MLXN_TRY(check(cudaMemsetAsync(memory, 0, bytes, stream), "zeroing a buffer"));
  MLXN_TRY(check(cudaStreamSynchronize(stream), "zeroing a buffer"));
  return storage;
}

Result<std::shared_ptr<CudaStorage>> CudaStorage::import(CudaDevice& device, std::span<const std::byte> bytes,
                                                         std::shared_ptr<const void> owner) {
  MLXN_TRY(device.use());
  MLXN_ASSIGN(std::byte* const memory, allocate_bytes(device, bytes.size()));
  auto storage = std::make_shared<CudaStorage>(device, memory, bytes, std::move(owner));
  const cudaStream_t stream = device.transfer_stream();
  MLXN_TRY(
      check(cudaMemcpyAsync(memory, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream), "upload of a buffer"));
  MLXN_TRY(check(cudaStreamSynchronize(stream), "upload of a buffer"));
  return storage;
}

Result<void> CudaStorage::order(cudaStream_t stream, bool write) {
  const std::lock_guard lock(mutex_);
  if (last_write_) MLXN_TRY(last_write_->hold(stream));
  if (write)
    for (const Reader& reader : readers_)
      if (reader.stream != stream) MLXN_TRY(reader.moment->hold(stream));
  return {};
}

Result<void> CudaStorage::begin_use(cudaStream_t stream, bool write) {
  if (!writable()) return {};  // nobody writes it, now or later
  MLXN_TRY(order(stream, write));
  return before_use(write, stream);
}

void CudaStorage::end_use(cudaStream_t stream, const std::shared_ptr<const Moment>& moment, bool write) {
  if (!writable()) return;
  const std::lock_guard lock(mutex_);
  if (write || std::exchange(uploaded_, false)) {
    last_write_ = moment;
    readers_.clear();
    uploaded_ = false;
    return;
  }
  std::erase_if(readers_, [&](const Reader& reader) { return reader.stream == stream || reader.moment->passed(); });
  readers_.push_back({stream, moment});
}

Result<void> CudaStorage::upload(const std::byte* host, void* queue) {
  MLXN_TRY(device_.use());
  const auto stream = queue ? static_cast<cudaStream_t>(queue) : device_.transfer_stream();
  MLXN_TRY(order(stream, true));
  MLXN_TRY(check(cudaMemcpyAsync(memory_, host, size(), cudaMemcpyHostToDevice, stream), "upload of a buffer"));
  if (!queue) return check(cudaStreamSynchronize(stream), "upload of a buffer");
  const std::lock_guard lock(mutex_);
  uploaded_ = true;
  return {};
}

Result<void> CudaStorage::download(std::byte* host) {
  MLXN_TRY(device_.use());
  const cudaStream_t stream = device_.transfer_stream();
  MLXN_TRY(order(stream, false));
  MLXN_TRY(check(cudaMemcpyAsync(host, memory_, size(), cudaMemcpyDeviceToHost, stream), "download of a buffer"));
  return check(cudaStreamSynchronize(stream), "download of a buffer");
}

}  // namespace mlx_native::cuda
