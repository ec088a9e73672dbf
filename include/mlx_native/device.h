#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/dtype.h"
#include "mlx_native/error.h"
#include "mlx_native/profile.h"

namespace [[gnu::visibility("default")]] mlx_native {

class CommandEncoder;

namespace detail {
class Device;
struct DeviceAccess;
}  // namespace detail

/// Emulator runs the GPU kernels on the CPU, for tests: it exists only in builds with MLXN_EMULATOR and where the
/// environment holds MLX_NATIVE_EMULATOR=1.
enum class Backend { Cpu, Cuda, Metal, Emulator };

/// "cpu", "cuda", "metal", "emulator".
std::string_view backend_name(Backend backend);

/// What this machine and this build can run, best first. Never empty: the CPU is always there.
std::vector<Backend> available_backends();

struct DeviceOptions {
  /// CPU: threads that run kernels, the caller's included, at most 1024. 0: one per physical core that the process may
  /// use.
  std::uint32_t threads = 0;
  /// CUDA and Metal: which device of the backend.
  std::uint32_t index = 0;
  /// Run every command alone and keep its time for profile(). A failed command is then an error of the commit.
  bool profile = false;
};

/// A device: its memory and its queue. Cheap to copy (copies are the same device), thread-safe. A move of this or any
/// other copyable handle except MlxBuffer is a copy, so that none is ever empty. A child of fork() makes its own: a CPU
/// device's threads stay with the parent, and a commit in the child is InvalidArgument.
class MlxDevice {
 public:
  MlxDevice(const MlxDevice&) = default;
  MlxDevice& operator=(const MlxDevice&) = default;

  /// Of the backend that the environment variable MLX_NATIVE_BACKEND names, else of the first of available_backends().
  static Result<MlxDevice> create(DeviceOptions options = {});
  /// A device of that backend. DeviceNotFound where the machine or the build has none.
  static Result<MlxDevice> create(Backend backend, DeviceOptions options = {});

  Backend backend() const;
  /// For people: "AMD EPYC, 4 threads, avx2", "NVIDIA H100 80GB HBM3".
  const std::string& name() const;
  /// Threads of a CPU device, multiprocessors of a GPU.
  std::uint32_t parallelism() const;
  /// Bytes of the device's memory, and how many are free now; on the CPU at most what control groups allow.
  std::size_t total_memory() const;
  std::size_t free_memory() const;

  /// Zero-filled memory of `bytes` bytes that holds `shape` of `dtype`. InvalidArgument for zero bytes and for bytes
  /// that do not hold shape x dtype; BufferAllocationError where memory runs out.
  Result<MlxBuffer> alloc_buffer(std::size_t bytes, DType dtype, Shape shape) const;

  /// Read-only buffer over `bytes` that `owner` keeps alive: shared with the host where the device can, copied
  /// otherwise. Errors as alloc_buffer; InvalidArgument for a null address.
  Result<MlxBuffer> import_host(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, DType dtype,
                                Shape shape) const;

  Result<CommandEncoder> command_encoder() const;

  /// Times of the commands that ran so far or since reset_profile(), longest first. Empty unless the device was created
  /// with DeviceOptions::profile.
  std::vector<ProfileEntry> profile() const;
  void reset_profile() const;

 private:
  friend struct detail::DeviceAccess;
  explicit MlxDevice(std::shared_ptr<detail::Device> device) : device_(std::move(device)) {}
  std::shared_ptr<detail::Device> device_;
};

}  // namespace mlx_native
