#include "cpu/places.h"

#include <sched.h>

namespace mlx_native::cpu {

Places::Places(std::uint32_t count) : count_(count), cpus_(std::make_unique<std::atomic<int>[]>(count)) {
  for (std::uint32_t i = 0; i < count; ++i) cpus_[i].store(kNone, std::memory_order_relaxed);
}

bool Places::taken(int cpu, std::uint32_t but) const {
  for (std::uint32_t i = 0; i < count_; ++i)
    if (i != but && cpus_[i].load(std::memory_order_relaxed) == cpu) return true;
  return false;
}

void Places::settle(std::uint32_t index) {
  if (count_ == 1) return;
  int here = ::sched_getcpu();
  if (index > 0 && here >= 0 && taken(here, index)) {
    cpu_set_t mask;
    if (::sched_getaffinity(0, sizeof mask, &mask) == 0)
      for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &mask) || taken(cpu, index)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (::sched_setaffinity(0, sizeof one, &one) == 0) here = cpu;
        ::sched_setaffinity(0, sizeof mask, &mask);
        break;
      }
  }
  if (cpus_[index].load(std::memory_order_relaxed) != here) cpus_[index].store(here, std::memory_order_relaxed);
}

}  // namespace mlx_native::cpu
