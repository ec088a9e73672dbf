// What the CPU can do at most, measured with the threads of a device: the figures that others are fractions of.
#pragma once

#include <functional>
#include <optional>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"
#include "peak.h"

namespace mlxn {

/// Each figure is the best of `runs` runs of some milliseconds, so that what else runs on the machine disturbs it
/// least.
class CpuLimits {
 public:
  /// `device` is one of the CPU.
  explicit CpuLimits(mlx_native::MlxDevice device, int runs = 10) : device_(std::move(device)), runs_(runs) {}

  /// Bytes per second out of memory that no cache holds, in 2 MiB pages where the system has them; the first call takes
  /// that memory, 512 MiB. Throws Failure where there is not so much.
  double read_bandwidth();
  /// Operations per second of all threads together. The machine supports `peak`.
  double operations(const Peak& peak);

 private:
  using Work = std::function<void(const mlx_native::KernelContext&)>;
  /// Seconds until every thread has done its part.
  double seconds(const Work& work);
  double best_seconds(const Work& work);

  mlx_native::MlxDevice device_;
  int runs_;
  mlx_native::KernelRegistry registry_;
  std::optional<mlx_native::MlxBuffer> memory_;
};

}  // namespace mlxn
