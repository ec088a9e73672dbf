// What a backend gives the runtime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "mlx_native/device.h"
#include "runtime/command.h"
#include "runtime/scratch_pool.h"
#include "runtime/storage.h"

namespace mlx_native::detail {

class Profile;

/// A recorded list that can run many times.
class Replay {
 public:
  virtual ~Replay() = default;
  /// Runs everything and waits.
  virtual Result<void> run() = 0;
  /// Starts a run, behind those started before; on a device that works by itself it returns before the run ends.
  virtual Result<void> start() { return run(); }
  /// Waits for what was started.
  virtual Result<void> wait() { return {}; }
};

/// Runs one encoder's commands in order, barriers respected. Used by one thread at a time.
class Queue {
 public:
  virtual ~Queue() = default;
  /// Starts the commands; they may outlive the call only as copies.
  virtual Result<void> submit(std::span<const Command> commands) = 0;
  /// Waits for everything submitted; reports the first failure.
  virtual Result<void> wait() = 0;
  /// Prepares the commands for repeated runs. `commands` outlives the Replay.
  virtual Result<std::unique_ptr<Replay>> prepare(std::span<const Command> commands) = 0;
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  Device(Backend backend, std::string name) : backend_(backend), name_(std::move(name)) {}
  virtual ~Device() = default;

  Backend backend() const { return backend_; }
  const std::string& name() const { return name_; }
  virtual std::uint32_t parallelism() const = 0;
  virtual std::size_t total_memory() const = 0;
  virtual std::size_t free_memory() const = 0;

  /// Zero-filled.
  virtual Result<std::shared_ptr<Storage>> allocate(std::size_t bytes) = 0;
  /// Read-only, over host memory that `owner` keeps alive.
  virtual Result<std::shared_ptr<Storage>> import_host(std::span<const std::byte> bytes,
                                                       std::shared_ptr<const void> owner) = 0;
  virtual Result<std::unique_ptr<Queue>> create_queue() = 0;
  /// Makes `kernel` ready on this device; called once per kernel and registry.
  virtual Result<void> prepare_kernel(const Kernel&) { return {}; }

  ScratchPool& scratch_pool() { return *scratch_pool_; }

  /// Null where times are not kept.
  Profile* profile() const { return profile_.get(); }
  void keep_profile(std::shared_ptr<Profile> profile) { profile_ = std::move(profile); }

 private:
  std::shared_ptr<Profile> profile_;
  std::shared_ptr<ScratchPool> scratch_pool_ = std::make_shared<ScratchPool>();
  Backend backend_;
  std::string name_;
};

/// A backend as the runtime sees it; the list of them is backends.cpp.
struct BackendEntry {
  Backend backend;
  bool (*available)();
  Result<std::shared_ptr<Device>> (*create)(const DeviceOptions&);
  std::vector<Kernel> (*kernels)();
};

}  // namespace mlx_native::detail
