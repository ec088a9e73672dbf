#include "cuda/queue.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "cuda/check.h"
#include "cuda/launch.h"
#include "cuda/storage.h"
#include "cuda/tensor/packed_x.h"

namespace mlx_native::cuda {

using namespace detail;

namespace {

/// Whether one of `storages` holds the address.
bool any_holds(const std::set<Storage*>& storages, const void* address) {
  const auto* const p = static_cast<const std::byte*>(address);
  return std::ranges::any_of(storages, [&](Storage* storage) {
    const std::byte* const begin = storage->device_address();
    return p >= begin && p < begin + storage->size();
  });
}

Result<void> launch_all(const Machine& machine, cudaStream_t stream, std::span<const Command> commands) {
  std::set<Storage*> written, open;
  std::vector<Call> followers;
  Packing packing;
  for (std::size_t i = 0; i < commands.size();) {
    const Kernel& kernel = *commands[i].kernel;
    std::size_t done = 1;
    cudaError_t status = cudaSuccess;
    bool settles = false;
    if (commands[i].barrier) packing = {};
    if (kernel.entry) {
      followers.clear();
      for (std::size_t j = i + 1; j < commands.size() && commands[j].kernel->op == kernel.op && !commands[j].barrier;
           ++j)
        followers.push_back({commands[j].kernel->entry, commands[j].args.data()});
      Launch launch{.stream = stream,
                    .machine = machine,
                    .is_new = [&](const void* address) { return any_holds(written, address); },
                    // The first comes after all that was submitted before, so that the others do too.
                    .may_overlap = machine.hopper && i > 0,
                    .is_open = [&](const void* address) { return any_holds(open, address); },
                    .call = {kernel.entry, commands[i].args.data()},
                    .followers = followers,
                    .packing = &packing};
      kernel.entry(commands[i].args.data(), &launch);
      status = launch.status;
      settles = launch.settles;
      done += launch.taken;
    } else {
      kernel.user({.stream = stream}, std::span(commands[i].args).first(commands[i].args_size));
      status = cudaGetLastError();
    }
    if (status != cudaSuccess) return check(status, fmt::format("launch of {}", kernel.name));
    if (settles) open.clear();
    for (const Command& command : commands.subspan(i, done))
      for (const Use& use : command.uses)
        if (use.write) written.insert(use.storage.get()), open.insert(use.storage.get());
    i += done;
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
  ~CudaReplay() override {
    (void)wait();
    (void)cudaGraphExecDestroy(graph_);
  }

  Result<void> run() override {
    MLXN_TRY(start());
    return wait();
  }
  Result<void> start() override {
    return submit_ordered(device_, stream_, storages_,
                          [&] { return check(cudaGraphLaunch(graph_, stream_), "launch of a graph"); });
  }
  Result<void> wait() override { return check(cudaStreamSynchronize(stream_), "waiting for a graph"); }

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
  auto submitted = submit_ordered(device_, stream_, storages_of(commands),
                                  [&] { return launch_all(device_.machine(), stream_, commands); });
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
  auto launched = launch_all(device_.machine(), stream_, commands);
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
