// The vocabulary of the rules of fusion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "args/elementwise.h"
#include "runtime/access.h"

namespace mlx_native::detail {

/// The first `replaced` of some commands, and the commands that do their work.
struct Fused {
  std::size_t replaced = 0;  ///< 0: no rule applies
  std::vector<Command> by;
};

/// Takes commands one after the other, as long as they are what a rule expects.
class Reader {
 public:
  Reader(Backend backend, std::span<const Command> commands) : backend_(backend), commands_(commands) {}

  /// The arguments of the next command if it is of the op, by the kernel that is chosen unless another is forced.
  template <class Args>
  std::optional<Args> take(Op op) {
    const Command* const command = next();
    if (!command || command->kernel->op != op || command->kernel != RegistryAccess::first(backend_, op)) return {};
    ++at_;
    return args_of<Args>(*command);
  }
  /// The arguments of the next command if it is of the op, by the kernel that `fused` stands for.
  template <class Args>
  std::optional<Args> take_alone(Op op, const Kernel* fused) {
    const Command* const command = next();
    if (!command || !fused || command->kernel->op != op || fused->alone != command->kernel->entry) return {};
    ++at_;
    return args_of<Args>(*command);
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

/// Whether what is written shares no byte with anything else.
inline bool apart(std::span<const Bytes> written, std::span<const Bytes> read) {
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      if (written[i].overlaps(written[j])) return false;
    for (const Bytes& bytes : read)
      if (written[i].overlaps(bytes)) return false;
  }
  return true;
}

/// The other term of a sum one term of which is `known`, if neither term is broadcast; null: it is no such sum.
inline const float* other_term(const BinaryArgs& sum, const float* known) {
  if (sum.b_rows != sum.rows || (sum.a == known) == (sum.b == known)) return nullptr;
  return sum.a == known ? sum.b : sum.a;
}

/// A command of `kernel` that does the work of `replaced`, unless there is no kernel or it does not support the
/// problem.
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

/// The same as the whole result of a rule.
template <class Args>
Fused one_for_all(std::shared_ptr<const Kernel> kernel, const Args& args, std::span<const Command> replaced) {
  auto command = command_of(std::move(kernel), args, replaced);
  if (!command) return {};
  Fused fused{.replaced = replaced.size(), .by = {}};
  fused.by.push_back(*std::move(command));
  return fused;
}

}  // namespace mlx_native::detail
