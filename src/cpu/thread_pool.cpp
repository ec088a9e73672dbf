#include "cpu/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
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

void Signal::wait_while(std::uint32_t old, Places& places, std::uint32_t index) {
  // On free cores the pauses last less than a microsecond and the yields about a millisecond. A yield that takes longer
  // than kFree gave the core away, perhaps for a slice of 4 ms: the next waits sleep instead, since a thread that is
  // woken runs first.
  constexpr int kPauses = 32, kYields = 4000, kSleeps = 200;
  constexpr auto kFree = std::chrono::microseconds(500);
  static thread_local int sleeps = 0;
  const auto changed = [&] { return value_.load(std::memory_order_acquire) != old; };
  for (int i = 0; i < kPauses; ++i) {
    if (changed()) return;
    pause();
  }
  if (sleeps > 0) --sleeps;
  auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < kYields && sleeps == 0; ++i) {
    if (changed()) return;
    std::this_thread::yield();
    const auto now = std::chrono::steady_clock::now();
    if (now - before > kFree) sleeps = kSleeps;
    before = now;
  }
  const Places::Stay stay(places, index);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (value_.load(std::memory_order_seq_cst) == old)
    ::syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void Signal::next() {
  value_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0)
    ::syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

bool TeamState::meet(std::uint32_t index) {
  const std::uint32_t phase = phase_.load();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) return true;
  phase_.wait_while(phase, places_, index);
  return false;
}

void TeamState::release() {
  arrived_.store(0, std::memory_order_relaxed);
  phase_.next();
}

bool TeamState::claim(std::uint32_t loop, std::uint32_t owner, std::uint64_t size, bool first, std::uint64_t most,
                      Range& piece) {
  constexpr int kPlaceBits = 20;
  constexpr std::uint64_t kPlace = (std::uint64_t{1} << kPlaceBits) - 1;
  constexpr std::uint32_t kLoop = (std::uint32_t{1} << (64 - 2 * kPlaceBits)) - 1;
  static_assert(Team::kMostGrains <= kPlace);
  std::atomic<std::uint64_t>& left = left_[owner].bits;
  for (std::uint64_t seen = left.load(std::memory_order_relaxed);;) {
    const std::uint32_t behind = (loop - static_cast<std::uint32_t>(seen >> (2 * kPlaceBits))) & kLoop;
    if (behind > kLoop / 2) return false;
    std::uint64_t begin = behind ? 0 : seen >> kPlaceBits & kPlace, end = behind ? size : seen & kPlace;
    const bool any = begin < end;
    if (!any && !behind) return false;
    const std::uint64_t taken = any ? std::clamp<std::uint64_t>((end - begin) / 2, 1, most) : 0;
    if (first) {
      piece = {begin, begin + taken};
      begin += taken;
    } else {
      piece = {end - taken, end};
      end -= taken;
    }
    const std::uint64_t next = std::uint64_t{loop & kLoop} << (2 * kPlaceBits) | begin << kPlaceBits | end;
    if (left.compare_exchange_weak(seen, next, std::memory_order_relaxed)) return any;
  }
}

TeamState::TeamState(std::uint32_t count)
    : count_(count),
      places_(count),
      local_(static_cast<std::byte*>(std::aligned_alloc(4096, count * Team::kLocalBytes))),
      left_(std::make_unique<Left[]>(count)) {
  if (!local_) throw std::bad_alloc();
}

void TeamState::Free::operator()(std::byte* memory) const { std::free(memory); }

Team::Team(TeamState& state, std::uint32_t index, std::uint32_t count)
    : state_(state), index_(index), count_(count), local_(state.local(index)) {}

bool Team::claim(std::uint32_t owner, std::uint64_t grains, std::uint64_t most, Range& piece) {
  const std::uint64_t begin = grains * owner / count_, end = grains * (owner + 1) / count_;
  if (!state_.claim(loop_, owner, end - begin, owner == index_, most, piece)) return false;
  piece.begin += begin;
  piece.end += begin;
  return true;
}

bool Team::meet() { return count_ == 1 || state_.meet(index_); }

void Team::release() {
  if (count_ > 1) state_.release();
}

void Team::barrier() {
  if (meet()) release();
}

Team Team::alone() const {
  Team one = *this;
  one.index_ = 0;
  one.count_ = 1;
  return one;
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
  generation_.next();
  for (std::thread& thread : threads_) is_here() ? thread.join() : thread.detach();
}

void ThreadPool::run(const std::function<void(Team&)>& body) {
  const std::lock_guard lock(turn_);
  body_ = &body;
  const std::uint32_t runs = done_.load();
  running_.store(count_ - 1, std::memory_order_relaxed);
  state_.places().settle(0);
  generation_.next();
  body(first_);
  if (count_ > 1) done_.wait_while(runs, state_.places(), 0);
}

void ThreadPool::work(std::uint32_t index) {
  Team team(state_, index, count_);
  for (std::uint32_t seen = 0;;) {
    generation_.wait_while(seen, state_.places(), index);
    ++seen;
    if (stopping_.load(std::memory_order_relaxed)) return;
    state_.places().settle(index);
    (*body_)(team);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_.next();
  }
}

}  // namespace mlx_native::cpu
