#include "limits.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>

#include "command.h"
#include "mlx_native/command_encoder.h"

namespace mlxn {

namespace {

using mlx_native::DType;
using mlx_native::KernelContext;

/// A thread's share, which is its own in every run: on a machine of several memories, the one next to it.
std::span<std::uint8_t> part(std::span<std::uint8_t> bytes, const KernelContext& thread) {
  const std::size_t size = bytes.size() / thread.count;
  return bytes.subspan(thread.index * size, size);
}

/// One load per cache line: the rest of the line costs nothing.
void read_lines(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < bytes.size(); at += kLine) (void)*static_cast<const volatile std::uint8_t*>(&bytes[at]);
}

}  // namespace

double CpuLimits::seconds(const Work& work) {
  const auto run = [&](const KernelContext& thread, std::span<const std::byte>) { work(thread); };
  must(registry_.register_kernel({"limit", mlx_native::Backend::Cpu, run}));
  auto encoder = must(device_.command_encoder());
  must(encoder.dispatch(registry_, "limit", {}, {}, {}));
  const auto start = std::chrono::steady_clock::now();
  must(encoder.commit_and_wait());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double CpuLimits::best_seconds(const Work& work) {
  double best = seconds(work);
  for (int i = 1; i < runs_; ++i) best = std::min(best, seconds(work));
  return best;
}

double CpuLimits::read_bandwidth() {
  constexpr std::size_t kBytes = std::size_t{512} << 20;  // beyond the caches of any part there is
  const bool first = !memory_;
  if (first) memory_ = must(device_.alloc_buffer(kBytes, DType::U8, {kBytes}));
  const auto bytes = must(memory_->as_mut_slice<std::uint8_t>());
  if (first)  // pages that nobody wrote are all the same page of zeros
    seconds([&](const KernelContext& thread) {
      const auto own = part(bytes, thread);
      std::memset(own.data(), 1, own.size());
    });
  return kBytes / best_seconds([&](const KernelContext& thread) { read_lines(part(bytes, thread)); });
}

double CpuLimits::operations(const Peak& peak) {
  constexpr double kSeconds = 0.004;
  std::uint64_t turns = 1 << 10;
  const auto run = [&](const KernelContext&) { peak.run(turns); };
  while (seconds(run) < kSeconds) turns *= 2;
  return static_cast<double>(turns) * peak.operations * device_.parallelism() / best_seconds(run);
}

}  // namespace mlxn
