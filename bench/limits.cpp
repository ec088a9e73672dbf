#include "limits.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "mlxn/peak.h"

namespace bench {
namespace {

constexpr std::size_t kMemory = std::size_t{256} << 20, kLine = 64;

/// Seconds from a common start until the last thread is through.
double time_of(int threads, const std::function<void(int)>& part) {
  std::atomic<int> ready = 0;
  const auto meet_and_run = [&](int thread) {
    for (ready.fetch_add(1); ready.load() < threads;) {
    }
    part(thread);
  };
  std::vector<std::jthread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(meet_and_run, thread);
  while (ready.load() < threads - 1) {
  }
  const auto start = std::chrono::steady_clock::now();
  meet_and_run(0);
  others.clear();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best_time_of(int threads, const std::function<void(int)>& part) {
  constexpr int kRuns = 3;  // new threads may share a core for a while
  double best = time_of(threads, part);
  for (int i = 1; i < kRuns; ++i) best = std::min(best, time_of(threads, part));
  return best;
}

}  // namespace

Limits::Limits(const std::string& isa) {
  for (const mlxn::Peak& peak : mlxn::peaks())
    if (std::string_view(peak.operands) == "f32" && peak.supported() && (isa.empty() || isa == peak.isa)) peak_ = &peak;
  if (!peak_) throw std::runtime_error(fmt::format("no f32 multiply-adds of the ISA '{}' on this machine", isa));
  void* const memory = mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory to read");
  madvise(memory, kMemory, MADV_HUGEPAGE);
  auto* const bytes = static_cast<std::byte*>(memory);
  // Pages that nobody wrote are all the same page of zeros.
  for (std::size_t at = 0; at < kMemory; at += kLine) bytes[at] = std::byte{1};
  memory_ = {bytes, [](const std::byte* begin) { munmap(const_cast<std::byte*>(begin), kMemory); }};
}

double Limits::read(int threads) const {
  const std::size_t part = kMemory / static_cast<std::size_t>(threads);
  const double seconds = best_time_of(threads, [&](int thread) {
    const std::byte* const own = memory_.get() + static_cast<std::size_t>(thread) * part;
    // One load per line: the rest of the line costs nothing.
    for (std::size_t at = 0; at < part; at += kLine) (void)*static_cast<const volatile std::byte*>(own + at);
  });
  return static_cast<double>(part) * threads / seconds;
}

double Limits::multiply(int threads) const {
  constexpr std::uint64_t kTurns = 1 << 19;  // some milliseconds
  return peak_->operations * static_cast<double>(kTurns) * threads / time_of(threads, [&](int) { peak_->run(kTurns); });
}

}  // namespace bench
