#include "cpu/backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "core/system_memory.h"
#include "cpu/kernels.h"
#include "cpu/run_commands.h"
#include "cpu/thread_pool.h"
#include "cpu/topology.h"

namespace mlx_native::cpu {

using namespace detail;

namespace {

/// Host memory is device memory.
class CpuStorage final : public Storage {
 public:
  CpuStorage(const Device* device, std::byte* data, std::size_t size, bool writable, std::shared_ptr<const void> owner)
      : Storage(device, size, writable), data_(data), owner_(std::move(owner)) {}
  Result<std::byte*> host(bool write) override {
    if (write) set_written_by_host(true);
    return data_;
  }
  std::byte* device_address() override { return data_; }
  Result<void> before_use(bool) override { return {}; }

 private:
  std::byte* data_;
  std::shared_ptr<const void> owner_;
};

Result<void> run(ThreadPool& pool, std::span<const Command> commands) {
  if (!pool.is_here())
    return invalid("the device was made before fork(), which copies none of its threads: make one in this process");
  pool.run([&](Team& team) { run_commands(commands, team); });
  return {};
}

class CpuReplay final : public Replay {
 public:
  CpuReplay(ThreadPool& pool, std::span<const Command> commands) : pool_(pool), commands_(commands) {}
  Result<void> run() override { return cpu::run(pool_, commands_); }

 private:
  ThreadPool& pool_;
  std::span<const Command> commands_;
};

class CpuQueue final : public Queue {
 public:
  explicit CpuQueue(ThreadPool& pool) : pool_(pool) {}
  Result<void> submit(std::span<const Command> commands) override { return run(pool_, commands); }
  Result<void> wait() override { return {}; }
  Result<std::unique_ptr<Replay>> prepare(std::span<const Command> commands) override {
    return std::make_unique<CpuReplay>(pool_, commands);
  }

 private:
  ThreadPool& pool_;
};

class CpuDevice final : public Device {
 public:
  CpuDevice(std::string name, std::uint32_t threads) : Device(Backend::Cpu, std::move(name)), pool_(threads) {}

  std::uint32_t parallelism() const override { return pool_.count(); }
  std::size_t total_memory() const override { return usable_memory(); }
  std::size_t free_memory() const override { return available_memory(); }

  Result<std::shared_ptr<Storage>> allocate(std::size_t bytes) override {
    // Linux promises memory that it does not have and kills later: large requests are checked against what is free now.
    constexpr std::size_t kLarge = std::size_t{64} << 20;
    const auto fail = [&] {
      return error(ErrorKind::BufferAllocationError, "out of memory: {} bytes asked for, {} are available", bytes,
                   available_memory());
    };
    if (bytes > kLarge && bytes > available_memory()) return fail();
    // It is not touched here: on a machine of several NUMA nodes a page goes to the node of the worker that first
    // does.
    void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return fail();
    if (bytes >= (std::size_t{2} << 20)) (void)::madvise(data, bytes, MADV_HUGEPAGE);
    const std::shared_ptr<const void> owner(data, [bytes](const void* p) { ::munmap(const_cast<void*>(p), bytes); });
    return std::make_shared<CpuStorage>(this, static_cast<std::byte*>(data), bytes, true, owner);
  }

  Result<std::shared_ptr<Storage>> import_host(std::span<const std::byte> bytes,
                                               std::shared_ptr<const void> owner) override {
    return std::make_shared<CpuStorage>(this, const_cast<std::byte*>(bytes.data()), bytes.size(), false,
                                        std::move(owner));
  }

  Result<std::unique_ptr<Queue>> create_queue() override { return std::make_unique<CpuQueue>(pool_); }

 private:
  ThreadPool pool_;
};

Result<std::shared_ptr<Device>> create(const DeviceOptions& options) {
  constexpr std::uint32_t kMaxThreads = 1024;
  if (options.threads > kMaxThreads)
    return invalid("{} threads asked for, at most {} are possible", options.threads, kMaxThreads);
  MLXN_ASSIGN(const std::string isa, preferred_isa());
  const std::uint32_t threads = options.threads ? options.threads : usable_cores();
  try {
    return std::make_shared<CpuDevice>(
        fmt::format("{}, {} thread{}, {}", cpu_name(), threads, threads == 1 ? "" : "s", isa), threads);
  } catch (const std::exception& failure) {
    return error(ErrorKind::BufferAllocationError, "cannot start {} threads: {}", threads, failure.what());
  }
}

}  // namespace

BackendEntry backend_entry() {
  return {Backend::Cpu, [] { return true; }, create, kernels};
}

}  // namespace mlx_native::cpu
