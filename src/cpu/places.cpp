#include "cpu/places.h"

namespace mlx_native::cpu {

namespace {

cpu_set_t only(int cpu) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(cpu, &mask);
  return mask;
}

/// The affinity mask of the calling thread.
bool get(cpu_set_t& mask) { return ::sched_getaffinity(0, sizeof mask, &mask) == 0; }
bool set(const cpu_set_t& mask) { return ::sched_setaffinity(0, sizeof mask, &mask) == 0; }

}  // namespace

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
  const auto take = [&](int cpu) {
    if (cpus_[index].load(std::memory_order_relaxed) != cpu) cpus_[index].store(cpu, std::memory_order_relaxed);
  };
  const int here = ::sched_getcpu();
  cpu_set_t mask;
  if (here < 0 || !taken(here, index) || !get(mask)) return take(here);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask) || taken(cpu, index)) continue;
    take(cpu);  // before it goes there, so that nobody else does
    if (!set(only(cpu))) take(here);
    set(mask);
    return;
  }
  take(here);
}

Places::Stay::Stay(Places& places, std::uint32_t index) {
  if (places.count_ == 1) return;
  places.settle(index);
  const int here = places.cpus_[index].load(std::memory_order_relaxed);
  if (here < 0 || places.taken(here, index) || !get(before_)) return;
  here_ = only(here);
  changed_ = set(here_);
}

Places::Stay::~Stay() {
  cpu_set_t now;
  if (changed_ && get(now) && CPU_EQUAL(&now, &here_)) set(before_);  // else someone else has set it
}

}  // namespace mlx_native::cpu
