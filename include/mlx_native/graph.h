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
/// between replays; addresses and shapes may not. On CUDA a replay is a graph launch, on the CPU one parallel region.
class ComputeGraph {
 public:
  ComputeGraph(const ComputeGraph&) = default;
  ComputeGraph& operator=(const ComputeGraph&) = default;

  /// As those of the encoder that it was recorded with.
  std::size_t dispatch_count() const;
  std::size_t barrier_count() const;
  /// Runs everything once and waits. Errors as CommandEncoder::wait.
  Result<void> replay();
  /// As replay, without waiting where the device works by itself. Runs of a graph follow each other; an error in any of
  /// them is returned by the next wait().
  Result<void> start();
  /// Waits for every run that was started.
  Result<void> wait();

 private:
  friend class GraphSession;
  explicit ComputeGraph(std::shared_ptr<detail::RecordedCommands> recorded) : recorded_(std::move(recorded)) {}
  std::shared_ptr<detail::RecordedCommands> recorded_;
};

/// Collects one pass, which finish() runs and record() keeps for replay; otherwise it is dropped.
class GraphSession {
 public:
  /// The encoder to record ops with.
  CommandEncoder& encoder() { return encoder_; }
  /// Runs the pass once and waits. Errors as CommandEncoder::commit_and_wait.
  Result<void> finish();
  /// The recorded pass; nothing has run yet. The session is spent: further calls are InvalidArgument, as is this one
  /// after a commit.
  Result<ComputeGraph> record();

 private:
  friend class GraphExecutor;
  explicit GraphSession(CommandEncoder encoder) : encoder_(std::move(encoder)) {}
  CommandEncoder encoder_;
};

/// Makes sessions on one device.
class GraphExecutor {
 public:
  explicit GraphExecutor(MlxDevice device) : device_(std::move(device)) {}
  Result<GraphSession> begin() const;

 private:
  MlxDevice device_;
};

}  // namespace mlx_native
