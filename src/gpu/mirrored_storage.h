// Memory with one copy on the host and one on the device.
#pragma once

#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>

#include "core/error.h"
#include "runtime/storage.h"

namespace mlx_native::gpu {

/// The older copy is brought up to date when it is about to be used. The host's copy is made at its first use.
class MirroredStorage : public detail::Storage {
 public:
  /// Zeros on both sides.
  MirroredStorage(const detail::Device* device, std::size_t size) : Storage(device, size, true) {}
  /// Read-only; the device's copy is made by the caller.
  MirroredStorage(const detail::Device* device, std::span<const std::byte> bytes, std::shared_ptr<const void> owner)
      : Storage(device, bytes.size(), false), host_(const_cast<std::byte*>(bytes.data())), owner_(std::move(owner)) {}

  Result<std::byte*> host(bool write) final {
    const std::lock_guard lock(mutex_);
    if (!host_) {
      host_ = static_cast<std::byte*>(std::calloc(size(), 1));
      if (!host_)
        return error(ErrorKind::BufferAllocationError, "out of memory: {} bytes for the host's copy of a buffer",
                     size());
      owner_.reset(host_, [](const void* p) { std::free(const_cast<void*>(p)); });
    }
    if (device_is_newer_) {
      MLXN_TRY(download(host_));
      device_is_newer_ = false;
    }
    if (write) {
      host_is_newer_ = true;
      set_written_by_host(true);
    }
    return host_;
  }

  Result<void> before_use(bool write) final { return before_use(write, nullptr); }
  /// Before a use by work that is queued on `queue` (the backend's own idea of one).
  Result<void> before_use(bool write, void* queue) {
    const std::lock_guard lock(mutex_);
    if (host_is_newer_) {
      MLXN_TRY(upload(host_, queue));
      host_is_newer_ = false;
    }
    device_is_newer_ |= write;
    return {};
  }

 protected:
  /// Copies the host's bytes to the device's copy: before what is queued on `queue` from now on, after all earlier use.
  virtual Result<void> upload(const std::byte* host, void* queue) = 0;
  /// Waits for what writes the device's copy, then copies it.
  virtual Result<void> download(std::byte* host) = 0;

 private:
  std::mutex mutex_;
  std::byte* host_ = nullptr;
  std::shared_ptr<const void> owner_;
  bool host_is_newer_ = false, device_is_newer_ = false;
};

}  // namespace mlx_native::gpu
