// What a device can do at most, measured with its own threads: the figures that others are fractions of.
#pragma once

#include <functional>
#include <optional>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"
#include "peak.h"

namespace mlxn {

/// Each figure is the best of `runs` runs of some milliseconds, so that what else runs on the machine disturbs it
/// least.
class Limits {
 public:
  explicit Limits(mlx_native::MlxDevice device, int runs = 10) : device_(std::move(device)), runs_(runs) {}

  /// Bytes per second out of memory that no cache holds, on the CPU in 2 MiB pages where the system has them; the first
  /// call takes that memory, 512 MiB. Throws Failure where there is not so much.
  double read_bandwidth();
  /// Operations per second of all threads together. The device is one of the CPU, which supports `peak`.
  double operations(const Peak& peak);

 private:
  using Work = std::function<void(const mlx_native::KernelContext&)>;
  using Record = std::function<void(mlx_native::CommandEncoder&)>;
  double seconds(const Record& record);
  double best_seconds(const Record& record);
  /// `work` by every thread of the CPU.
  Record by_all(const Work& work);

  mlx_native::MlxDevice device_;
  int runs_;
  mlx_native::KernelRegistry registry_;
  std::optional<mlx_native::MlxBuffer> memory_, sums_;
};

}  // namespace mlxn
