#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/error.h"

namespace [[gnu::visibility("default")]] mlx_native {

namespace detail {
struct Kernel;
struct RegistryAccess;
}  // namespace detail

/// Where a user's kernel runs.
struct KernelContext {
  /// CPU: this call is worker `index` of `count`, all of which run the kernel at once, each on its own part.
  std::uint32_t index = 0;
  std::uint32_t count = 1;
  /// CUDA: the cudaStream_t to launch on. Null elsewhere.
  void* stream = nullptr;
};

/// A kernel of the user. `run` receives the bytes that were given to CommandEncoder::dispatch and must not throw. On
/// the CPU it is called once by every worker; on a GPU once, to launch.
struct UserKernel {
  std::string name;
  Backend backend;
  std::function<void(const KernelContext&, std::span<const std::byte> args)> run;
};

/// Kernels by name. A new registry holds every built-in kernel of every backend of the build. Kernels are prepared at
/// their first use on a device and cached. Copies share their contents; thread-safe.
///
/// Built-in names read backend.isa-or-family.op.format: "cpu.avx2.mat_vec.q4_K", "cuda.simt.rms_norm".
class KernelRegistry {
 public:
  KernelRegistry();
  KernelRegistry(const KernelRegistry&) = default;
  KernelRegistry& operator=(const KernelRegistry&) = default;

  /// Adds or replaces a user's kernel. InvalidArgument for an empty name, an empty function or a built-in's name.
  Result<void> register_kernel(UserKernel kernel);

  /// InvalidArgument where the kernel is of another backend, KernelNotFound where the name is unknown,
  /// ShaderCompilationError where it cannot be prepared.
  Result<std::shared_ptr<const detail::Kernel>> get(std::string_view name, const MlxDevice& device) const;

  /// From now on every call of this kernel's op, format and backend uses it, or returns InvalidArgument where it does
  /// not support the shape. KernelNotFound for an unknown name.
  Result<void> force(std::string_view name);
  /// Ends all forcing.
  void unforce();

  std::vector<std::string> kernel_names(Backend backend) const;  ///< in order of preference, then the user's
  bool is_cached(std::string_view name) const;                   ///< prepared on a device that still exists
  std::size_t cached_count() const;                              ///< how many kernels are

 private:
  friend struct detail::RegistryAccess;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mlx_native
