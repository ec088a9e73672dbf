// What the machine could do at most, measured beside what is compared.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace mlxn {
struct Peak;
}

namespace bench {

class Limits {
 public:
  /// Of the f32 multiply-adds of one ISA as `mlxn bench --limits` names it; the newest that the machine has if empty.
  explicit Limits(const std::string& isa);
  /// Bytes per second that `threads` threads read from memory (2 MiB pages).
  double read(int threads) const;
  /// Multiplications and additions per second of `threads` threads.
  double multiply(int threads) const;

 private:
  const mlxn::Peak* peak_ = nullptr;
  std::shared_ptr<const std::byte> memory_;
};

}  // namespace bench
