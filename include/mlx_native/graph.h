#pragma once

#include <cstddef>
#include <memory>

#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"

namespace [[gnu::visibility("default")]] mlx_native {

namespace detail {
class RecordedCommands;
}

/// A recorded forward pass: the same kernels on the same buffers, run again by replay(). Buffer contents may change
/// between replays; addresses and shapes may not. On CUDA a graph launch, on the CPU one parallel region.
class ComputeGraph {
 public:
  ComputeGraph(const ComputeGraph&) = default;
  ComputeGraph& operator=(const ComputeGraph&) = default;

  std::size_t dispatch_count() const;
  std::size_t barrier_count() const;
  /// Runs everything once and waits. Errors as CommandEncoder::wait.
  Result<void> replay();
  /// As replay, without waiting where the device works by itself. Runs of a graph follow each other; what ran wrong in
  /// any of them is returned by the next wait().
  Result<void> start();
  Result<void> wait();

 private:
  friend class GraphSession;
  explicit ComputeGraph(std::shared_ptr<detail::RecordedCommands> recorded) : recorded_(std::move(recorded)) {}
  std::shared_ptr<detail::RecordedCommands> recorded_;
};

/// Collects one pass. End it by finish() (run now) or record() (keep for replay); dropped otherwise.
class GraphSession {
 public:
  /// What ops are given to record into.
  CommandEncoder& encoder() { return encoder_; }
  Result<void> finish();
  /// The recorded pass; nothing has run yet. The session is spent.
  Result<ComputeGraph> record();

 private:
  friend class GraphExecutor;
  explicit GraphSession(CommandEncoder encoder) : encoder_(std::move(encoder)) {}
  CommandEncoder encoder_;
};

class GraphExecutor {
 public:
  explicit GraphExecutor(MlxDevice device) : device_(std::move(device)) {}
  Result<GraphSession> begin() const;

 private:
  MlxDevice device_;
};

}  // namespace mlx_native
