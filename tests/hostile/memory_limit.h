#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>

namespace mlx_native::hostile {

/// While it lives, the process cannot map more than `more` bytes above what it has: a larger allocation throws
/// std::bad_alloc, which no test expects. The sanitizers, which map terabytes, are left alone.
class MemoryLimit {
 public:
  explicit MemoryLimit([[maybe_unused]] std::size_t more) {
    ::getrlimit(RLIMIT_AS, &before_);
#if !MLXN_ASAN && !MLXN_TSAN
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit = before_;
    limit.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + more;
    if (pages != 0) ::setrlimit(RLIMIT_AS, &limit);
#endif
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  ~MemoryLimit() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

}  // namespace mlx_native::hostile
