#include "mlx_native/command_encoder.h"

#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native {

using detail::BufferAccess;
using detail::EncoderAccess;
using detail::RegistryAccess;

CommandEncoder::CommandEncoder(std::unique_ptr<detail::Commands> commands) : commands_(std::move(commands)) {}
CommandEncoder::CommandEncoder(CommandEncoder&&) noexcept = default;
CommandEncoder& CommandEncoder::operator=(CommandEncoder&&) noexcept = default;
CommandEncoder::~CommandEncoder() = default;

Result<void> CommandEncoder::dispatch(const KernelRegistry& registry, std::string_view kernel,
                                      std::span<const std::byte> args, std::span<const MlxBuffer> reads,
                                      std::span<const MlxBuffer> writes) {
  if (!commands_) return EncoderAccess::moved_from();
  MLXN_ASSIGN(auto found, RegistryAccess::get(registry, kernel, commands_->device()));
  if (found->op != detail::Op::User)
    return invalid("dispatch: {} is a built-in kernel, which takes the arguments of its op", kernel);
  std::vector<detail::Use> uses;
  for (const MlxBuffer& buffer : reads) uses.push_back(BufferAccess::use(buffer, false));
  for (const MlxBuffer& buffer : writes) uses.push_back(BufferAccess::use(buffer, true));
  return commands_->add(std::move(found), args, std::move(uses));
}

Result<void*> CommandEncoder::device_address(const MlxBuffer& buffer) const {
  if (!commands_) return EncoderAccess::moved_from();
  if (!BufferAccess::storage(buffer)) return invalid("device_address: the buffer is empty: it was moved from");
  if (BufferAccess::storage(buffer)->device() != commands_->device().get())
    return invalid("device_address: a buffer of another device than the encoder's ({})", commands_->device()->name());
  return BufferAccess::address(buffer);
}

Result<void> CommandEncoder::commit() { return commands_ ? commands_->commit() : EncoderAccess::moved_from(); }
Result<void> CommandEncoder::wait() { return commands_ ? commands_->wait() : EncoderAccess::moved_from(); }

Result<void> CommandEncoder::commit_and_wait() {
  MLXN_TRY(commit());
  return wait();
}

std::size_t CommandEncoder::dispatch_count() const { return commands_ ? commands_->dispatch_count() : 0; }
std::size_t CommandEncoder::barrier_count() const { return commands_ ? commands_->barrier_count() : 0; }

std::vector<std::string_view> CommandEncoder::dispatched_kernels() const {
  std::vector<std::string_view> names;
  if (!commands_) return names;
  for (const auto& kernel : commands_->kernels()) names.push_back(kernel->name);
  return names;
}

}  // namespace mlx_native
