#include "mlx_native/command_encoder.h"

#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native {

using detail::BufferAccess;
using detail::RegistryAccess;

CommandEncoder::CommandEncoder(std::unique_ptr<detail::Commands> commands) : commands_(std::move(commands)) {}
CommandEncoder::CommandEncoder(CommandEncoder&&) noexcept = default;
CommandEncoder& CommandEncoder::operator=(CommandEncoder&&) noexcept = default;
CommandEncoder::~CommandEncoder() = default;

Result<void> CommandEncoder::dispatch(const KernelRegistry& registry, std::string_view kernel,
                                      std::span<const std::byte> args, std::span<const MlxBuffer> reads,
                                      std::span<const MlxBuffer> writes) {
  MLXN_ASSIGN(auto found, RegistryAccess::get(registry, kernel, commands_->device()));
  std::vector<detail::Use> uses;
  for (const MlxBuffer& buffer : reads) uses.push_back(BufferAccess::use(buffer, false));
  for (const MlxBuffer& buffer : writes) uses.push_back(BufferAccess::use(buffer, true));
  return commands_->add(std::move(found), args, std::move(uses));
}

Result<void*> CommandEncoder::device_address(const MlxBuffer& buffer) const {
  if (BufferAccess::storage(buffer)->device() != commands_->device().get())
    return invalid("device_address: a buffer of another device than the encoder's ({})", commands_->device()->name());
  return BufferAccess::address(buffer);
}

Result<void> CommandEncoder::commit() { return commands_->commit(); }
Result<void> CommandEncoder::wait() { return commands_->wait(); }

Result<void> CommandEncoder::commit_and_wait() {
  MLXN_TRY(commit());
  return wait();
}

std::size_t CommandEncoder::dispatch_count() const { return commands_->dispatch_count(); }
std::size_t CommandEncoder::barrier_count() const { return commands_->barrier_count(); }

std::vector<std::string_view> CommandEncoder::dispatched_kernels() const {
  std::vector<std::string_view> names;
  for (const auto& kernel : commands_->kernels()) names.push_back(kernel->name);
  return names;
}

}  // namespace mlx_native
