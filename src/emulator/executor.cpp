// Built without ThreadSanitizer, as group.cpp.
#include "emulator/executor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "emulator/sanitizer.h"

namespace mlx_native::emulator {

namespace {

/// Poisoned memory of one group, exact in size so that AddressSanitizer sees its ends.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    // ThreadSanitizer takes fresh pages for memory that no other group has touched.
    if constexpr (kTsan) {
      void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      data_ = pages == MAP_FAILED ? nullptr : static_cast<std::byte*>(pages);
    } else {
      data_ = static_cast<std::byte*>(std::malloc(bytes));  // aligned to 16
    }
    if (!data_) return;
    auto* const words = reinterpret_cast<volatile std::uint32_t*>(data_);
    for (std::size_t i = 0; i < bytes / 4; ++i) words[i] = poison_of(i);
  }
  ~Scratch() {
    if (!data_) return;
    if constexpr (kTsan)
      munmap(data_, bytes_);
    else
      std::free(data_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  bool valid() const { return bytes_ == 0 || data_; }
  std::byte* data() const { return data_; }

 private:
  std::size_t bytes_;
  std::byte* data_ = nullptr;
};

std::uint64_t seed_from_environment() {
  const char* const text = std::getenv("MLX_NATIVE_EMULATOR_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}

}  // namespace

Executor& Executor::instance() {
  static Executor executor(seed_from_environment());
  return executor;
}

Group* Executor::group_of(std::uint32_t threads, std::uint32_t parity) {
  auto& group = groups_[{threads, parity}];
  if (!group) group = std::make_unique<Group>(threads);
  return group->valid() ? group.get() : nullptr;
}

std::string Executor::run(const Work& work) {
  const std::uint32_t start = random_.below(work.groups);
  const bool backwards = random_.below(2) == 1;
  volatile std::byte* const args = args_;
  for (std::size_t i = 0; i < work.args_bytes; ++i) args[i] = static_cast<const std::byte*>(work.args)[i];
  begin_work();
  for (std::uint32_t i = 0; i < work.groups; ++i) {
    const std::uint64_t step = backwards ? work.groups - i : i;
    const auto index = static_cast<std::uint32_t>((start + step) % work.groups);
    // Neighbouring groups run on different fibers, so that ThreadSanitizer does not take them for ordered.
    Group* const group = group_of(work.threads, kTsan ? i % 2 : 0);
    const Scratch scratch(work.scratch_bytes);
    if (!group || !scratch.valid()) return "out of memory for fibers";
    begin_work();
    if (std::string fault = group->run(work.body, args_, scratch.data(), index, work.groups, random_); !fault.empty())
      return fault;
  }
  return {};
}

std::string find_poison(std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    std::uint32_t bits;
    std::memcpy(&bits, bytes.data() + i, sizeof bits);
    if (is_poison(bits))
      return fmt::format("word {} of scratch was read before it was written; it came to bytes {} to {} of an output",
                         poisoned_word(bits), i, i + 3);
  }
  return {};
}

}  // namespace mlx_native::emulator
