#include "emulator/backend.h"

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/system_memory.h"
#include "emulator/executor.h"
#include "emulator/kernels.h"
#include "gpu/mirrored_storage.h"

namespace mlx_native::emulator {

using namespace detail;

namespace {

/// The device's copy is memory of its own, so that a forgotten upload or download shows.
class EmulatorStorage final : public gpu::MirroredStorage {
 public:
  using Memory = std::unique_ptr<std::byte, decltype(&std::free)>;

  EmulatorStorage(const Device* device, Memory memory, std::size_t bytes)
      : MirroredStorage(device, bytes), memory_(std::move(memory)) {}
  EmulatorStorage(const Device* device, Memory memory, std::span<const std::byte> bytes,
                  std::shared_ptr<const void> owner)
      : MirroredStorage(device, bytes, std::move(owner)), memory_(std::move(memory)) {}

  std::byte* device_address() override { return memory_.get(); }

 protected:
  Result<void> upload(const std::byte* host, void*) override {
    std::memcpy(memory_.get(), host, size());
    return {};
  }
  Result<void> download(std::byte* host) override {
    std::memcpy(host, memory_.get(), size());
    return {};
  }

 private:
  Memory memory_;
};

/// Runs one command; its fault, if any, becomes a CommandBufferError.
Result<void> run_command(Executor& executor, const Command& command) {
  const Kernel& kernel = *command.kernel;
  if (!kernel.entry) {
    kernel.user({}, std::span(command.args).first(command.args_size));
    return {};
  }
  Launch launch(executor);
  kernel.entry(command.args.data(), &launch);
  std::string fault = launch.fault();
  for (const Use& use : command.uses)
    if (use.write && fault.empty())
      fault = find_poison({use.storage->device_address() + use.begin, use.end - use.begin});
  if (!fault.empty()) return error(ErrorKind::CommandBufferError, "{}, {}", kernel.name, fault);
  return {};
}

/// Commands between two barriers may run in any order: a random one.
Result<void> run_commands(std::span<const Command> commands) {
  Executor& executor = Executor::instance();
  const std::lock_guard lock(executor.turn());
  for (const Command& command : commands)
    for (const Use& use : command.uses) MLXN_TRY(use.storage->before_use(use.write));
  for (std::size_t begin = 0, end; begin < commands.size(); begin = end) {
    end = begin + 1;
    while (end < commands.size() && !commands[end].barrier) ++end;
    std::vector<std::size_t> order;
    for (std::size_t i = begin; i < end; ++i) {
      order.push_back(i);
      std::swap(order.back(), order[executor.random().below(static_cast<std::uint32_t>(order.size()))]);
    }
    for (const std::size_t i : order) MLXN_TRY(run_command(executor, commands[i]));
    fence();
  }
  return {};
}

class EmulatorReplay final : public Replay {
 public:
  explicit EmulatorReplay(std::span<const Command> commands) : commands_(commands) {}
  Result<void> run() override { return run_commands(commands_); }

 private:
  std::span<const Command> commands_;
};

class EmulatorQueue final : public Queue {
 public:
  Result<void> submit(std::span<const Command> commands) override {
    if (failure_) return {};
    if (auto ran = run_commands(commands); !ran) failure_ = std::move(ran).error();
    return {};
  }
  Result<void> wait() override {
    if (failure_) return tl::unexpected(*failure_);
    return {};
  }
  Result<std::unique_ptr<Replay>> prepare(std::span<const Command> commands) override {
    return std::make_unique<EmulatorReplay>(commands);
  }

 private:
  std::optional<MlxError> failure_;
};

class EmulatorDevice final : public Device {
 public:
  EmulatorDevice() : Device(Backend::Emulator, "GPU emulator") {}

  std::uint32_t parallelism() const override { return 1; }
  std::size_t total_memory() const override { return usable_memory(); }
  std::size_t free_memory() const override { return available_memory(); }

  Result<std::shared_ptr<Storage>> allocate(std::size_t bytes) override {
    MLXN_ASSIGN(auto memory, device_memory(bytes));
    std::memset(memory.get(), 0, bytes);
    return std::make_shared<EmulatorStorage>(this, std::move(memory), bytes);
  }
  Result<std::shared_ptr<Storage>> import_host(std::span<const std::byte> bytes,
                                               std::shared_ptr<const void> owner) override {
    MLXN_ASSIGN(auto memory, device_memory(bytes.size()));
    std::memcpy(memory.get(), bytes.data(), bytes.size());
    return std::make_shared<EmulatorStorage>(this, std::move(memory), bytes, std::move(owner));
  }
  Result<std::unique_ptr<Queue>> create_queue() override { return std::make_unique<EmulatorQueue>(); }

 private:
  /// Aligned to 16 bytes as on every GPU, and exact in size for AddressSanitizer.
  static Result<EmulatorStorage::Memory> device_memory(std::size_t bytes) {
    void* memory = nullptr;
    if (bytes > available_memory() || posix_memalign(&memory, 16, bytes) != 0)
      return error(ErrorKind::BufferAllocationError, "out of memory: {} bytes asked for, {} are available", bytes,
                   available_memory());
    return EmulatorStorage::Memory(static_cast<std::byte*>(memory), &std::free);
  }
};

Result<std::shared_ptr<Device>> create(const DeviceOptions& options) {
  if (options.index != 0) return error(ErrorKind::DeviceNotFound, "there is one emulator, not {}", options.index + 1);
  return std::make_shared<EmulatorDevice>();
}

bool available() {
  const char* const wanted = std::getenv("MLX_NATIVE_EMULATOR");
  return wanted && std::string_view(wanted) == "1";
}

}  // namespace

BackendEntry backend_entry() { return {Backend::Emulator, available, create, kernels}; }

}  // namespace mlx_native::emulator
