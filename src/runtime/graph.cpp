#include "mlx_native/graph.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/access.h"
#include "runtime/fusion.h"

namespace mlx_native {

namespace detail {

class RecordedCommands {
 public:
  static Result<std::shared_ptr<RecordedCommands>> create(std::unique_ptr<Commands> commands) {
    if (commands->failure_) return tl::unexpected(*commands->failure_);
    if (!commands->in_flight_.empty()) return invalid("record: a part of this session was committed already");
    auto recorded = std::make_shared<RecordedCommands>();
    MLXN_ASSIGN(commands->recorded_, fuse(*commands->device_, std::move(commands->recorded_)));
    MLXN_ASSIGN(recorded->replay_, commands->queue_->prepare(commands->recorded_));
    recorded->commands_ = std::move(commands);
    return recorded;
  }

  Result<void> start() {
    if (faulted_ && commands_->fault_words_) {
      MLXN_ASSIGN(std::byte* const words, commands_->fault_words_->host(true));
      std::fill_n(words, commands_->fault_words_->size(), std::byte{0});
    }
    faulted_ = false;
    return replay_->start();
  }

  Result<void> wait() {
    MLXN_TRY(replay_->wait());
    auto faults = commands_->check_faults();
    commands_->failure_.reset();  // the next replay starts anew
    faulted_ = !faults.has_value();
    return faults;
  }

  const Commands& commands() const { return *commands_; }

 private:
  std::unique_ptr<Commands> commands_;
  std::unique_ptr<Replay> replay_;  // goes before the commands that it refers to
  bool faulted_ = false;            // fault words are as the kernels left them
};

}  // namespace detail

std::size_t ComputeGraph::dispatch_count() const { return recorded_->commands().dispatch_count(); }
std::size_t ComputeGraph::barrier_count() const { return recorded_->commands().barrier_count(); }
Result<void> ComputeGraph::start() { return recorded_->start(); }
Result<void> ComputeGraph::wait() { return recorded_->wait(); }
Result<void> ComputeGraph::replay() {
  MLXN_TRY(start());
  return wait();
}

Result<GraphSession> GraphExecutor::begin() const {
  MLXN_ASSIGN(CommandEncoder encoder, device_.command_encoder());
  return GraphSession(std::move(encoder));
}

Result<void> GraphSession::finish() { return encoder_.commit_and_wait(); }

Result<ComputeGraph> GraphSession::record() {
  if (detail::EncoderAccess::is_empty(encoder_)) return detail::EncoderAccess::moved_from();
  MLXN_ASSIGN(auto recorded, detail::RecordedCommands::create(detail::EncoderAccess::take(
                                 encoder_, {ErrorKind::InvalidArgument, "the session was recorded and is spent"})));
  return ComputeGraph(std::move(recorded));
}

}  // namespace mlx_native
