#include "limits.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "command.h"
#include "mlx_native/ops/checksum.h"

namespace mlxn {

using mlx_native::Backend;
using mlx_native::CommandEncoder;
using mlx_native::DType;
using mlx_native::KernelContext;

double Limits::seconds(const Record& record) {
  auto encoder = must(device_.command_encoder());
  record(encoder);
  const auto start = std::chrono::steady_clock::now();
  must(encoder.commit_and_wait());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Limits::best_seconds(const Record& record) {
  double best = seconds(record);
  for (int i = 1; i < runs_; ++i) best = std::min(best, seconds(record));
  return best;
}

Limits::Record Limits::by_all(const Work& work) {
  const auto run = [&work](const KernelContext& thread, std::span<const std::byte>) { work(thread); };
  must(registry_.register_kernel({"limit", Backend::Cpu, run}));
  return [&](CommandEncoder& encoder) { must(encoder.dispatch(registry_, "limit", {}, {}, {})); };
}

double Limits::read_bandwidth() {
  constexpr std::size_t kBytes = std::size_t{512} << 20;  // beyond the caches of any part there is
  constexpr std::size_t kWords = kBytes / sizeof(std::uint32_t), kSums = kWords / mlx_native::kChecksumWords;
  const bool cpu = device_.backend() == Backend::Cpu;
  if (!memory_) {
    memory_ = must(device_.alloc_buffer(kBytes, DType::U8, {kBytes}));
    sums_ = must(device_.alloc_buffer(kSums * sizeof(std::uint32_t), DType::U32, {kSums}));
    // Pages that nobody wrote are all the same page of zeros. A thread writes what it will read: on a machine of
    // several memories, into the one next to it.
    const auto write = [bytes = must(memory_->as_mut_slice<std::uint8_t>())](const KernelContext& thread) {
      const std::size_t size = bytes.size() / thread.count;
      std::memset(&bytes[thread.index * size], 1, size);
    };
    if (cpu) seconds(by_all(write));
  }
  const int passes = cpu ? 1 : 16;  // beside which the cost of a commit is nothing
  const auto read = [&, words = must(memory_->reinterpret(DType::U32, {kWords}))](CommandEncoder& encoder) {
    for (int i = 0; i < passes; ++i)
      must(mlx_native::checksum(encoder, registry_, device_, words, *sums_, {.n_words = kWords}));
  };
  return passes * static_cast<double>(kBytes) / best_seconds(read);
}

double Limits::operations(const Peak& peak) {
  constexpr double kSeconds = 0.004;
  std::uint64_t turns = 1 << 10;
  const Work multiply = [&](const KernelContext&) { peak.run(turns); };
  const Record run = by_all(multiply);
  while (seconds(run) < kSeconds) turns *= 2;
  return static_cast<double>(turns) * peak.operations * device_.parallelism() / best_seconds(run);
}

}  // namespace mlxn
