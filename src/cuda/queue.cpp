#include "cuda/queue.h"

#include <functional>
#include <map>

#include "cuda/check.h"
#include "cuda/launch.h"
#include "cuda/storage.h"

namespace mlx_native::cuda {

using namespace detail;

namespace {

Result<void> launch_all(cudaStream_t stream, std::span<const Command> commands) {
  for (const Command& command : commands) {
    const Kernel& kernel = *command.kernel;
    cudaError_t status = cudaSuccess;
    if (kernel.entry) {
      Launch launch{stream};
      kernel.entry(command.args.data(), &launch);
      status = launch.status;
    } else {
      kernel.user({.stream = stream}, std::span(command.args).first(command.args_size));
      status = cudaGetLastError();
    }
    if (status != cudaSuccess) return check(status, fmt::format("launch of {}", kernel.name));
  }
  return {};
}

/// The storages of some commands, each with whether it is written.
std::map<CudaStorage*, bool> storages_of(std::span<const Command> commands) {
  std::map<CudaStorage*, bool> storages;
  for (const Command& command : commands)
    for (const Use& use : command.uses) storages[static_cast<CudaStorage*>(use.storage.get())] |= use.write;
  return storages;
}

/// Runs `work` on the stream, in the right order with everything else that uses these storages.
Result<void> submit_ordered(CudaDevice& device, cudaStream_t stream, const std::map<CudaStorage*, bool>& storages,
                            const std::function<Result<void>()>& work) {
  MLXN_TRY(device.use());
  const std::lock_guard lock(device.submitting());
  for (const auto& [storage, write] : storages) MLXN_TRY(storage->begin_use(stream, write));
  auto worked = work();
  MLXN_ASSIGN(const auto end, Moment::record(stream));
  for (const auto& [storage, write] : storages) storage->end_use(stream, end, write);
  return worked;
}

/// An instantiated CUDA graph.
class CudaReplay final : public Replay {
 public:
  CudaReplay(CudaDevice& device, cudaStream_t stream, cudaGraphExec_t graph, std::span<const Command> commands)
      : device_(device), stream_(stream), graph_(graph), storages_(storages_of(commands)) {}
  ~CudaReplay() override { (void)cudaGraphExecDestroy(graph_); }

  Result<void> run() override {
    MLXN_TRY(submit_ordered(device_, stream_, storages_,
                            [&] { return check(cudaGraphLaunch(graph_, stream_), "launch of a graph"); }));
    return check(cudaStreamSynchronize(stream_), "waiting for a graph");
  }

 private:
  CudaDevice& device_;
  cudaStream_t stream_;
  cudaGraphExec_t graph_;
  std::map<CudaStorage*, bool> storages_;
};

}  // namespace

CudaQueue::~CudaQueue() {
  (void)wait();
  device_.give_back(stream_);
}

Result<void> CudaQueue::submit(std::span<const Command> commands) {
  if (failure_) return {};
  auto submitted =
      submit_ordered(device_, stream_, storages_of(commands), [&] { return launch_all(stream_, commands); });
  if (!submitted) failure_ = std::move(submitted).error();
  return {};
}

Result<void> CudaQueue::wait() {
  MLXN_TRY(device_.use());
  auto waited = check(cudaStreamSynchronize(stream_), "waiting for commands");
  if (failure_) return tl::unexpected(*failure_);
  return waited;
}

Result<std::unique_ptr<Replay>> CudaQueue::prepare(std::span<const Command> commands) {
  MLXN_TRY(device_.use());
  MLXN_TRY(check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture of a graph"));
  auto launched = launch_all(stream_, commands);
  cudaGraph_t graph = nullptr;
  const auto captured = check(cudaStreamEndCapture(stream_, &graph), "capture of a graph");
  const std::unique_ptr<CUgraph_st, void (*)(cudaGraph_t)> owner(graph,
                                                                 [](cudaGraph_t g) { (void)cudaGraphDestroy(g); });
  MLXN_TRY(std::move(launched));
  MLXN_TRY(captured);
  cudaGraphExec_t executable = nullptr;
  MLXN_TRY(check(cudaGraphInstantiate(&executable, graph, 0), "instantiation of a graph"));
  return std::make_unique<CudaReplay>(device_, stream_, executable, commands);
}

}  // namespace mlx_native::cuda
