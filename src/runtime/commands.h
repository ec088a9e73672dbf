#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/command.h"
#include "runtime/device_base.h"

namespace mlx_native::detail {

/// What a CommandEncoder records: commands that wait for commit(), and those that were committed.
class Commands {
 public:
  Commands(std::shared_ptr<Device> device, std::unique_ptr<Queue> queue);
  /// Poisoned from the start.
  Commands(std::shared_ptr<Device> device, MlxError failure);
  ~Commands();

  const std::shared_ptr<Device>& device() const { return device_; }
  /// Appends a command; `args` is copied.
  Result<void> add(std::shared_ptr<const Kernel> kernel, std::span<const std::byte> args, std::vector<Use> uses);
  /// A zeroed word that a kernel may set to 1 + some row; wait() then returns InvalidArgument with describe(row).
  Result<std::uint32_t*> fault_word(std::vector<Use>& uses, std::function<std::string(std::uint32_t row)> describe);
  /// Scratch memory for the one command that has `uses`, to which it is added as written; given back when that is done.
  Result<std::byte*> scratch(std::size_t bytes, std::vector<Use>& uses);

  Result<void> commit();
  Result<void> wait();
  std::size_t dispatch_count() const { return kernels_.size(); }
  std::size_t barrier_count() const { return barriers_; }
  std::span<const std::shared_ptr<const Kernel>> kernels() const { return kernels_; }

 private:
  friend class RecordedCommands;
  struct Fault {
    std::uint32_t word;
    std::function<std::string(std::uint32_t)> describe;
  };
  Result<void> check_faults();
  Result<void> fail(MlxError failure);

  std::shared_ptr<Device> device_;
  std::unique_ptr<Queue> queue_;
  HazardTracker hazards_;
  std::vector<Command> recorded_;   // not yet committed
  std::vector<Command> in_flight_;  // committed; keeps their buffers alive until wait()
  std::vector<std::shared_ptr<const Kernel>> kernels_;
  std::size_t barriers_ = 0;
  // A few buffers in turn, so that neighbouring commands with scratch may overlap while memory stays bounded.
  std::array<std::shared_ptr<Storage>, 4> scratch_;
  std::size_t next_scratch_ = 0;
  std::shared_ptr<Storage> fault_words_;
  std::vector<Fault> faults_;
  std::optional<MlxError> failure_;
};

}  // namespace mlx_native::detail
