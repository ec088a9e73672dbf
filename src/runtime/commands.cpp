#include "runtime/commands.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "core/error.h"
#include "runtime/fusion.h"

namespace mlx_native::detail {

namespace {
constexpr std::size_t kFaultWords = 1024;
}

Commands::Commands(std::shared_ptr<Device> device, std::unique_ptr<Queue> queue)
    : device_(std::move(device)), queue_(std::move(queue)) {}

Commands::Commands(std::shared_ptr<Device> device, MlxError failure)
    : device_(std::move(device)), failure_(std::move(failure)) {}

Commands::~Commands() {
  if (!in_flight_.empty()) (void)queue_->wait();
}

Result<void> Commands::fail(MlxError failure) {
  failure_ = failure;
  return tl::unexpected(std::move(failure));
}

Result<void> Commands::add(std::shared_ptr<const Kernel> kernel, std::span<const std::byte> args,
                           std::vector<Use> uses) {
  if (failure_) return tl::unexpected(*failure_);
  if (args.size() > kMaxArgsBytes)
    return invalid("{}: {} bytes of arguments, at most {} are possible", kernel->name, args.size(), kMaxArgsBytes);
  for (const Use& use : uses) {
    if (!use.storage) return invalid("{}: a buffer is empty: it was moved from", kernel->name);
    if (use.storage->device() != device_.get())
      return invalid("{}: a buffer of another device than the encoder's ({})", kernel->name, device_->name());
    if (use.write && !use.storage->writable()) return invalid("{}: an output buffer is read-only", kernel->name);
  }
  for (const Use& use : uses)
    if (use.write) use.storage->set_written_by_host(false);
  Command& command = recorded_.emplace_back();
  command.barrier = hazards_.add(uses);
  barriers_ += command.barrier;
  command.args_size = args.size();
  std::ranges::copy(args, command.args.begin());
  command.uses = std::move(uses);
  kernels_.push_back(kernel);
  command.kernel = std::move(kernel);
  return {};
}

Result<std::uint32_t*> Commands::fault_word(std::vector<Use>& uses,
                                            std::function<std::string(std::uint32_t)> describe) {
  if (!fault_words_) {
    MLXN_ASSIGN(auto words, device_->scratch_pool().take(*device_, kFaultWords * sizeof(std::uint32_t)));
    MLXN_ASSIGN(std::byte* const host, words->host(true));
    std::fill_n(host, words->size(), std::byte{0});
    fault_words_ = std::move(words);
  }
  if (faults_.size() == kFaultWords)
    return invalid("more than {} commands that can fault in one encoder: wait for it now and then", kFaultWords);
  const auto word = static_cast<std::uint32_t>(faults_.size());
  faults_.push_back({word, std::move(describe)});
  uses.push_back({fault_words_, word * sizeof(std::uint32_t), (word + 1) * sizeof(std::uint32_t), true});
  return reinterpret_cast<std::uint32_t*>(fault_words_->device_address()) + word;
}

Result<std::byte*> Commands::scratch(std::size_t bytes, std::vector<Use>& uses) {
  // Behind a barrier all of them are free, and the first is most likely still in a cache.
  if (hazards_.conflicts(uses)) next_scratch_ = 0;
  std::shared_ptr<Storage>& slot = scratch_[next_scratch_++ % scratch_.size()];
  if (!slot || slot->size() < bytes) {
    MLXN_ASSIGN(slot, device_->scratch_pool().take(*device_, bytes));
  }
  uses.push_back({slot, 0, bytes, true});
  return slot->device_address();
}

Result<void> Commands::commit() {
  if (failure_) return tl::unexpected(*failure_);
  if (recorded_.empty()) return {};
  auto fused = fuse(*device_, std::move(recorded_));
  if (!fused) return fail(std::move(fused).error());
  recorded_ = *std::move(fused);
  if (auto submitted = queue_->submit(recorded_); !submitted) return fail(std::move(submitted).error());
  std::ranges::move(recorded_, std::back_inserter(in_flight_));
  recorded_.clear();
  return {};
}

Result<void> Commands::wait() {
  if (failure_) return tl::unexpected(*failure_);
  if (in_flight_.empty()) return {};
  auto waited = queue_->wait();
  in_flight_.clear();
  if (recorded_.empty()) hazards_ = {};
  if (!waited) return fail(std::move(waited).error());
  return check_faults();
}

Result<void> Commands::check_faults() {
  if (faults_.empty()) return {};
  auto words = fault_words_->host(false);
  if (!words) return fail(std::move(words).error());
  for (const Fault& fault : faults_) {
    std::uint32_t value;
    std::memcpy(&value, *words + fault.word * sizeof value, sizeof value);
    if (value != 0) return fail({ErrorKind::InvalidArgument, fault.describe(value - 1)});
  }
  if (recorded_.empty()) faults_.clear();
  return {};
}

}  // namespace mlx_native::detail
