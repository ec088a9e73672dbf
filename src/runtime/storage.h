// Memory behind buffers.
#pragma once

#include <atomic>
#include <cstddef>

#include "mlx_native/error.h"

namespace mlx_native::detail {

class Device;

/// One allocation. Without unified memory it has a copy on the host and one on the device, and the one about to be used
/// is brought up to date first.
class Storage {
 public:
  Storage(const Device* device, std::size_t size, bool writable) : device_(device), size_(size), writable_(writable) {}
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const Device* device() const { return device_; }
  std::size_t size() const { return size_; }
  bool writable() const { return writable_; }

  /// The host's copy, brought up to date; with `write`, it becomes the newer one.
  virtual Result<std::byte*> host(bool write) = 0;
  /// The address that kernels use. Fixed for life.
  virtual std::byte* device_address() = 0;
  /// Called for each use in a submission, before it runs: brings the device's copy up to date; with `write`, it becomes
  /// the newer one.
  virtual Result<void> before_use(bool write) = 0;

  /// Whether the contents are the host's: true after host(true), false once a command that writes them was recorded.
  bool written_by_host() const { return written_by_host_.load(std::memory_order_relaxed); }
  void set_written_by_host(bool by_host) { written_by_host_.store(by_host, std::memory_order_relaxed); }

 private:
  const Device* device_;
  std::size_t size_;
  bool writable_;
  std::atomic<bool> written_by_host_{true};
};

}  // namespace mlx_native::detail
