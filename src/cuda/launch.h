// Where a kernel of the table meets the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace mlx_native::cuda {

/// What launches depend on.
struct Machine {
  std::uint32_t multiprocessors = 0;
  std::size_t shared_bytes = 0;  // that a group can have
  bool hopper = false;           // clusters, and launches that overlap
};

/// A grid of groups, by clusters.
struct Grid {
  std::uint32_t groups, threads;
  std::size_t shared_bytes = 0;
  std::uint32_t cluster = 1;
};

struct Packing;  // cuda/tensor/packed_x.h

/// A command: its kernel's entry and its arguments.
struct Call {
  void (*entry)(const void* args, void* launch);
  const void* args;
};

/// What a KernelEntry of this backend is called with: the stream to launch on, and the first failure.
struct Launch {
  cudaStream_t stream = nullptr;
  Machine machine;
  /// Whether a command before, of those that are launched together, writes what lies there. Null: none.
  std::function<bool(const void*)> is_new = nullptr;
  /// Whether a kernel that calls await_previous() (cuda/order.cuh) may start before the end of the one before it.
  bool may_overlap = false;
  /// Whether what lies there may not be there yet when the kernel starts, though it waits for nothing. Null: nothing.
  std::function<bool(const void*)> is_open = nullptr;
  Call call = {};  ///< what is launched
  /// The commands that follow, as long as they are of the same op and need nothing of it and of each other.
  std::span<const Call> followers = {};
  std::size_t taken = 0;  ///< of these; set by a kernel that did their work too
  /// What products pack for those behind them, up to a barrier. Null: nothing is kept.
  Packing* packing = nullptr;
  /// Set by a kernel that lets the next one start only when all before itself is done.
  bool settles = false;
  cudaError_t status = cudaSuccess;

  /// Launches `kernel`, whose one parameter is at `args`. overlap: it calls await_previous().
  void start(const void* kernel, const Grid& grid, const void* args, bool overlap);
  /// Defined in instance.cuh, where device code is compiled.
  template <class Kernel>
  void run(std::uint32_t groups, const typename Kernel::Args& args);
};

/// A KernelEntry. Instantiated in one translation unit per family (CMakeLists.txt).
template <class Family>
void run_family(const void* args, void* launch);

}  // namespace mlx_native::cuda
