#include "cpu/thread_pool.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace mlx_native::cpu {

namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  constexpr int kPauses = 32, kYields = 4000;  // below a microsecond, and about a millisecond
  const auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  for (int i = 0; i < kPauses; ++i) {
    if (changed()) return;
    pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (changed()) return;
    std::this_thread::yield();
  }
  while (!changed()) value.wait(old, std::memory_order_acquire);
}

void TeamState::barrier() {
  const std::uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
  } else {
    wait_while(phase_, phase);
  }
}

bool TeamState::claim(std::uint32_t loop, std::uint64_t pieces, std::uint64_t& piece) {
  std::atomic<std::uint64_t>& counter = loops_[loop % loops_.size()];
  for (std::uint64_t seen = counter.load(std::memory_order_relaxed);;) {
    const auto ahead = static_cast<std::int32_t>(static_cast<std::uint32_t>(seen >> 32) - loop);
    piece = ahead < 0 ? 0 : seen & 0xffffffffu;
    if (ahead > 0 || piece >= pieces) return false;
    const std::uint64_t next = std::uint64_t{loop} << 32 | (piece + 1);
    if (counter.compare_exchange_weak(seen, next, std::memory_order_relaxed)) return true;
  }
}

TeamState::TeamState(std::uint32_t count)
    : count_(count), local_(static_cast<std::byte*>(std::aligned_alloc(4096, count * Team::kLocalBytes))) {
  if (!local_) throw std::bad_alloc();
}

void TeamState::Free::operator()(std::byte* memory) const { std::free(memory); }

Team::Team(TeamState& state, std::uint32_t index, std::uint32_t count)
    : state_(state), index_(index), count_(count), local_(state.local(index)) {}

bool Team::claim(std::uint64_t pieces, std::uint64_t& piece) { return state_.claim(loop_, pieces, piece); }

void Team::barrier() {
  if (count_ > 1) state_.barrier();
}

ThreadPool::ThreadPool(std::uint32_t count) : count_(count), state_(count), first_(state_, 0, count) {
  threads_.reserve(count - 1);
  try {
    for (std::uint32_t i = 1; i < count; ++i) threads_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(const std::function<void(Team&)>& body) {
  const std::lock_guard lock(turn_);
  body_ = &body;
  running_.store(count_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  body(first_);
  for (std::uint32_t left; (left = running_.load(std::memory_order_acquire)) != 0;) wait_while(running_, left);
}

void ThreadPool::work(std::uint32_t index) {
  Team team(state_, index, count_);
  for (std::uint32_t seen = 0;;) {
    wait_while(generation_, seen);
    ++seen;
    if (stopping_.load(std::memory_order_relaxed)) return;
    (*body_)(team);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_all();
  }
}

}  // namespace mlx_native::cpu
