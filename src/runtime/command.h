// A recorded command, and the order that declared reads and writes ask for.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/storage.h"

namespace mlx_native::detail {

inline constexpr std::size_t kMaxArgsBytes = 256;

/// Bytes [begin, end) of a storage that a command reads or writes.
struct Use {
  std::shared_ptr<Storage> storage;
  std::size_t begin, end;
  bool write;
};

struct Command {
  std::shared_ptr<const Kernel> kernel;
  std::vector<Use> uses;
  std::size_t args_size = 0;
  bool barrier = false;  ///< everything before it must be done first
  alignas(16) std::array<std::byte, kMaxArgsBytes> args;
};

/// The command's arguments, which are of the type that Op says.
template <class Args>
Args args_of(const Command& command) {
  Args args;
  std::memcpy(&args, command.args.data(), sizeof args);
  return args;
}

/// Bytes of storages, as ranges that do not touch.
class ByteSet {
 public:
  bool overlaps(const Use& use) const;
  void insert(const Use& use);
  void clear() { ends_.clear(); }

 private:
  std::map<std::pair<std::shared_ptr<Storage>, std::size_t>, std::size_t> ends_;  // of the ranges that begin there
};

/// Remembers the uses since the last barrier. Two uses conflict where they share bytes and one of them writes.
class HazardTracker {
 public:
  /// Whether a command with these uses needs a barrier before it.
  bool conflicts(const std::vector<Use>& uses) const;
  /// The same; records them.
  bool add(const std::vector<Use>& uses);

 private:
  std::vector<Use> recent_;  // few, as between most barriers: the fastest to search
  ByteSet read_, written_;   // by those before
};

}  // namespace mlx_native::detail
