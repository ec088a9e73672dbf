// What rules of fusion are written with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <vector>

#include "runtime/access.h"

namespace mlx_native::detail {

/// Some commands from the first on, and what does their work.
struct Fused {
  std::size_t replaced = 0;  ///< 0: nothing
  std::vector<Command> by;
};

/// Takes commands one after the other, as long as they are what is asked for.
class Reader {
 public:
  Reader(Backend backend, std::span<const Command> commands) : backend_(backend), commands_(commands) {}

  /// The arguments of the next command if it is of the op, by the kernel that is chosen by itself.
  template <class Args>
  std::optional<Args> peek(Op op) const {
    if (at_ == commands_.size()) return {};
    const Command& command = commands_[at_];
    if (command.kernel->op != op || command.kernel != RegistryAccess::first(backend_, op)) return {};
    Args args;
    std::memcpy(&args, command.args.data(), sizeof args);
    return args;
  }
  template <class Args>
  std::optional<Args> take(Op op) {
    auto args = peek<Args>(op);
    if (args) ++at_;
    return args;
  }
  /// The arguments of the next command if it is of the op, by the kernel that `fused` stands for.
  template <class Args>
  std::optional<Args> take_alone(Op op, const Kernel* fused) {
    const Command* const command = next();
    if (!command || !fused || command->kernel->op != op || fused->alone != command->kernel->entry) return {};
    Args args;
    std::memcpy(&args, command->args.data(), sizeof args);
    ++at_;
    return args;
  }
  /// The next command, of any kind; null: none.
  const Command* next() const { return at_ == commands_.size() ? nullptr : &commands_[at_]; }
  void skip() { ++at_; }
  std::size_t taken() const { return at_; }

 private:
  Backend backend_;
  std::span<const Command> commands_;
  std::size_t at_ = 0;
};

struct Bytes {
  const void* begin;
  std::uint64_t count;

  bool overlaps(const Bytes& other) const {
    const auto* const a = static_cast<const std::byte*>(begin);
    const auto* const b = static_cast<const std::byte*>(other.begin);
    return count && other.count && a < b + other.count && b < a + count;
  }
};
inline Bytes floats(const float* begin, std::uint64_t rows, std::uint64_t columns = 1) {
  return {begin, rows * columns * sizeof(float)};
}

/// What is written shares no byte with anything else.
inline bool apart(std::span<const Bytes> written, std::span<const Bytes> read) {
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      if (written[i].overlaps(written[j])) return false;
    for (const Bytes& bytes : read)
      if (written[i].overlaps(bytes)) return false;
  }
  return true;
}

/// Does the work of `replaced` by `kernel`, unless there is none or it cannot.
template <class Args>
std::optional<Command> command_of(std::shared_ptr<const Kernel> kernel, const Args& args,
                                  std::span<const Command> replaced) {
  static_assert(sizeof(Args) <= kMaxArgsBytes);
  if (!kernel || (kernel->supports && !kernel->supports(&args))) return {};
  Command command{.kernel = std::move(kernel), .uses = {}, .args_size = sizeof(Args), .args = {}};
  std::memcpy(command.args.data(), &args, sizeof(Args));
  for (const Command& one : replaced) {
    command.barrier |= one.barrier;
    command.uses.insert(command.uses.end(), one.uses.begin(), one.uses.end());
  }
  return command;
}

}  // namespace mlx_native::detail
