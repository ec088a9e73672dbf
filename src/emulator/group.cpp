// Built without ThreadSanitizer, and free of library calls on fibers: it must see the kernels' accesses alone.
#include "emulator/group.h"

#include <fmt/format.h>

#include <cstring>

#include "emulator/sanitizer.h"

namespace mlx_native::emulator {

namespace {

[[maybe_unused]] char begin_sync, end_sync;

void release([[maybe_unused]] char& sync) {
#if MLXN_TSAN
  __tsan_release(&sync);
#endif
}
void acquire([[maybe_unused]] char& sync) {
#if MLXN_TSAN
  __tsan_acquire(&sync);
#endif
}

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

void begin_work() { release(begin_sync); }
void fence() { acquire(end_sync); }

std::string describe(Group::Collective kind, const Site& site) {
  constexpr const char* kNames[] = {"barrier",  "simd_sum",       "simd_max",
                                    "simd_min", "simd_broadcast", "simd_shuffle_xor"};
  const char* const slash = std::strrchr(site.file_name(), '/');
  return fmt::format("{} at {}:{}", kNames[static_cast<int>(kind)], slash ? slash + 1 : site.file_name(), site.line());
}

Group::Group(std::uint32_t threads) : ready_(threads), simdgroups_((threads + 31) / 32) {
  for (std::uint32_t i = 0; i < threads; ++i) {
    lanes_.push_back(std::make_unique<Lane>());
    lanes_.back()->group = this;
    lanes_.back()->index = i;
  }
  all_.size = threads;
  for (std::uint32_t i = 0; i < simdgroups_.size(); ++i)
    simdgroups_[i] = {.first = 32 * i, .size = threads - 32 * i < 32 ? threads - 32 * i : 32};
}

bool Group::valid() const {
  for (const auto& lane : lanes_)
    if (!lane->fiber.valid()) return false;
  return true;
}

void Group::lane_main(void* argument) {
  Lane& lane = *static_cast<Lane*>(argument);
  // A fiber that returned is resumed here for the next group.
  for (;;) {
    Group& group = *lane.group;
    acquire(begin_sync);
    group.body_(Thread(group, lane.index, group.threads(), group.index_, group.count_), group.args_, group.scratch_);
    release(end_sync);
    lane.state = Lane::State::Returned;
    lane.fiber.leave();
  }
}

Group::Lane* Group::next(Random& random, bool uneven, std::uint32_t favourite) {
  const auto draw = [&] { return random.below(static_cast<std::uint32_t>(ready_count_)); };
  std::uint32_t pick = draw();
  if (uneven) {
    // Some simdgroups run far ahead of others: of a few lanes, the one whose simdgroup comes first from the favourite
    // on.
    const auto count = static_cast<std::uint32_t>(simdgroups_.size());
    const auto rank = [&](std::uint32_t i) { return (ready_[i]->index / 32 + count - favourite) % count; };
    for (int i = 0; i < 3; ++i)
      if (const std::uint32_t other = draw(); rank(other) < rank(pick)) pick = other;
  }
  Lane* const lane = ready_[pick];
  ready_[pick] = ready_[--ready_count_];
  return lane;
}

std::string Group::run(Body body, const void* args, std::byte* scratch, std::uint32_t index, std::uint32_t count,
                       Random& random) {
  body_ = body, args_ = args, scratch_ = scratch, index_ = index, count_ = count;
  failed_ = false;
  all_.arrived = 0;
  for (Meeting& simdgroup : simdgroups_) simdgroup.arrived = 0;
  ready_count_ = lanes_.size();
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = *lanes_[i];
    ready_[i] = &lane;
    if (lane.state != Lane::State::Returned) lane.fiber.start(lane_main, &lane);
  }
  const bool uneven = random.below(2) == 1;
  const std::uint32_t favourite = random.below(static_cast<std::uint32_t>(simdgroups_.size()));
  while (ready_count_ > 0 && !failed_) {
    Lane* const lane = next(random, uneven, favourite);
    lane->state = Lane::State::Running;
    lane->fiber.resume();
  }
  if (!failed_)
    for (const auto& lane : lanes_)
      if (lane->state == Lane::State::Waiting) {
        failed_ = true;
        message_ = "divergence: " + who_waits();
        break;
      }
  return failed_ ? fmt::format("group {}: {}", index, message_) : std::string();
}

std::string Group::who_waits() const {
  std::string text;
  std::size_t returned = 0;
  const Lane* last = nullptr;
  int shown = 0;
  for (const auto& lane : lanes_) {
    if (lane->state == Lane::State::Returned) ++returned;
    if (lane->state != Lane::State::Waiting) continue;
    if (last && last->at == lane->at && same(last->site, lane->site)) continue;
    last = lane.get();
    if (++shown <= 4)
      text += fmt::format("thread {} and perhaps others wait in {}; ", lane->index, describe(lane->at, lane->site));
  }
  return text + fmt::format("{} of {} threads have returned", returned, lanes_.size());
}

void Group::fail(Lane& lane, std::string message) {
  failed_ = true;
  message_ = fmt::format("thread {}: {}", lane.index, message);
  lane.fiber.leave();
  __builtin_trap();
}

void Group::meet(Meeting& meeting, Lane& lane, Collective kind, const Site& site) {
  lane.at = kind;
  lane.site = site;
  for (std::uint32_t i = meeting.first; i < meeting.first + meeting.size; ++i) {
    const Lane& other = *lanes_[i];
    if (other.state != Lane::State::Waiting) continue;
    // Another simdgroup may still be on its way to the barrier.
    if (kind == Collective::Barrier && other.at != Collective::Barrier) continue;
    if (other.at != kind || !same(other.site, site))
      fail(lane, fmt::format("divergence: in {}, while thread {} waits in {}", describe(kind, site), i,
                             describe(other.at, other.site)));
    break;  // the others were compared with that one
  }
  if (++meeting.arrived < meeting.size) {
    lane.state = Lane::State::Waiting;
    lane.fiber.leave();
    return;
  }
  meeting.arrived = 0;
  complete(meeting, kind);
  for (std::uint32_t i = meeting.first; i < meeting.first + meeting.size; ++i)
    if (Lane* const other = lanes_[i].get(); other != &lane) {
      other->state = Lane::State::Running;
      ready_[ready_count_++] = other;
    }
}

void Group::complete(Meeting& meeting, Collective kind) {
  if (kind == Collective::Barrier) ++barriers_;
  std::uint32_t result = meeting.values[0];
  if (kind == Collective::Broadcast) result = meeting.values[meeting.source];
  if (kind == Collective::Max || kind == Collective::Min) {
    for (std::uint32_t i = 1; i < meeting.size; ++i) {
      const std::uint32_t value = meeting.values[i];
      const float x = std::bit_cast<float>(value), best = std::bit_cast<float>(result);
      if (kind == Collective::Min ? value < result : x > best || best != best) result = value;
    }
  }
  if (kind == Collective::Sum) {
    float sums[32] = {};
    for (std::uint32_t i = 0; i < meeting.size && i < 32; ++i) sums[i] = std::bit_cast<float>(meeting.values[i]);
    for (int apart = 16; apart > 0; apart /= 2)
      for (int i = 0; i < apart; ++i) sums[i] = sums[i] + sums[i + apart];
    result = std::bit_cast<std::uint32_t>(sums[0]);
  }
  for (std::uint32_t i = 0; i < 32; ++i)
    meeting.results[i] = kind == Collective::ShuffleXor ? meeting.values[i ^ meeting.source] : result;
}

void Group::barrier(std::uint32_t thread, const Site& site) {
  char& sync = barrier_sync_[barriers_ % 2];
  release(sync);
  meet(all_, *lanes_[thread], Collective::Barrier, site);
  acquire(sync);
}

std::uint32_t Group::exchange(std::uint32_t thread, Collective kind, std::uint32_t value, std::uint32_t source,
                              const Site& site) {
  Lane& lane = *lanes_[thread];
  Meeting& meeting = simdgroups_[thread / 32];
  if (is_poison(value))
    fail(lane, fmt::format("word {} of scratch was read before it was written; it came to {}", poisoned_word(value),
                           describe(kind, site)));
  if (kind == Collective::Broadcast || kind == Collective::ShuffleXor) {
    if (source >= meeting.size) fail(lane, fmt::format("lane {} is asked for in {}", source, describe(kind, site)));
    if (meeting.arrived > 0 && meeting.source != source)
      fail(lane, fmt::format("divergence: lane {} is asked for in {}, another thread asks for lane {}", source,
                             describe(kind, site), meeting.source));
    meeting.source = source;
  }
  meeting.values[thread % 32] = value;
  meet(meeting, lane, kind, site);
  return meeting.results[thread % 32];
}

void Thread::barrier(Site site) const { owner_.barrier(index_, site); }
float Thread::simd_sum(float x, Site site) const {
  return std::bit_cast<float>(
      owner_.exchange(index_, Group::Collective::Sum, std::bit_cast<std::uint32_t>(x), 0, site));
}
float Thread::simd_max(float x, Site site) const {
  return std::bit_cast<float>(
      owner_.exchange(index_, Group::Collective::Max, std::bit_cast<std::uint32_t>(x), 0, site));
}
std::uint32_t Thread::simd_min(std::uint32_t x, Site site) const {
  return owner_.exchange(index_, Group::Collective::Min, x, 0, site);
}
std::uint32_t Thread::simd_broadcast(std::uint32_t x, std::uint32_t lane, Site site) const {
  return owner_.exchange(index_, Group::Collective::Broadcast, x, lane, site);
}
float Thread::simd_shuffle_xor(float x, std::uint32_t mask, Site site) const {
  return std::bit_cast<float>(
      owner_.exchange(index_, Group::Collective::ShuffleXor, std::bit_cast<std::uint32_t>(x), mask, site));
}

}  // namespace mlx_native::emulator
