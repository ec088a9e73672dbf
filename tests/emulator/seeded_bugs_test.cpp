// What each lane of the emulator sees: every planted bug of seeded_kernels.h is seen by the lanes that promise to see
// it, and no lane complains of its correct twin.
//
//   plain   the emulator itself: threads in random order, poisoned scratch, divergence; and the result is wrong
//   asan    AddressSanitizer and UndefinedBehaviorSanitizer (clang): bounds, alignment of numbers, undefined arithmetic
//   tsan    ThreadSanitizer (g++): accesses that no barrier orders; alignment of structs, which clang does not check
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "emulator/backend.h"
#include "emulator/executor.h"
#include "emulator/seeded_kernels.h"
#include "runtime/access.h"

namespace mlx_native::seeded {
namespace {

#if MLXN_ASAN
constexpr int kLane = 1;
#elif MLXN_TSAN
constexpr int kLane = 2;
#else
constexpr int kLane = 0;
#endif
constexpr int kSeeds = 8;

/// Exactly n floats, aligned to 16 bytes as a GPU's buffers are.
class Floats {
 public:
  explicit Floats(std::size_t n) : n_(n) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 16, n * sizeof(float)) != 0) throw std::bad_alloc();
    data_.reset(static_cast<float*>(memory));
  }
  std::span<float> all() const { return {data_.get(), n_}; }

 private:
  std::size_t n_;
  std::unique_ptr<float, decltype(&std::free)> data_{nullptr, &std::free};
};

/// What the emulator, or a look at the result, has to say of a kernel; empty: nothing.
template <class Kernel>
std::string complaint(std::uint64_t seed) {
  const Floats x(Kernel::kInputs);
  // Small integers: sums are exact in any order.
  for (std::size_t i = 0; i < x.all().size(); ++i) x.all()[i] = float(1 + i * 7919 % 1009);
  const std::vector<float> want = Kernel::reference(x.all());
  const Floats y(want.size());
  std::ranges::fill(y.all(), std::nanf(""));
  static emulator::Executor executor(0);
  executor.random() = emulator::Random(seed);
  emulator::Launch launch(executor);
  launch.template run<Kernel>(Kernel::kGroups, {x.all().data(), y.all().data()});
  emulator::fence();
  if (!launch.fault().empty()) return launch.fault();
  if (std::string poison = emulator::find_poison(std::as_bytes(y.all())); !poison.empty()) return poison;
  for (std::size_t i = 0; i < want.size(); ++i)
    if (y.all()[i] != want[i]) return fmt::format("wrong result: y[{}] is {}, not {}", i, y.all()[i], want[i]);
  return {};
}

struct Seeded {
  const char *kernel, *bug;
  std::string (*complaint)(std::uint64_t seed);
  const char* seen_by[3];  // what plain, asan and tsan say; null: that lane promises nothing
};
void PrintTo(const Seeded& s, std::ostream* out) { *out << s.kernel << " " << s.bug; }

constexpr const char *kDivergence = "divergence: ", *kPoison = "read before it was written", *kWrong = "wrong result",
                     *kBounds = "AddressSanitizer: heap-buffer-overflow", *kRace = "ThreadSanitizer: data race";

#define BUG(Kernel, bug, plain, asan, tsan)                               \
  Seeded {                                                                \
#Kernel, #bug, complaint < Kernel < Bug::bug>>, { plain, asan, tsan } \
  }
constexpr Seeded kBugs[] = {
    //  kernel            bug                         plain        asan                      tsan
    BUG(ReverseTiles, NoBarrierAfterWrite, kPoison, nullptr, kRace),
    BUG(ReverseTiles, NoBarrierBeforeRewrite, kWrong, nullptr, kRace),
    BUG(ReverseTiles, CollectiveForBarrier, kPoison, nullptr, kRace),
    BUG(ReverseTiles, TailNotFilled, kWrong, nullptr, nullptr),
    BUG(ReverseTiles, TileReadPastEnd, nullptr, kBounds, nullptr),
    BUG(ReverseTiles, TileWrittenPastEnd, nullptr, kBounds, nullptr),
    BUG(ReverseTiles, ScratchTooSmall, nullptr, kBounds, nullptr),
    BUG(RowSums, NoBarrierBeforePartials, kPoison, nullptr, kRace),
    BUG(RowSums, NoBarrierAfterPartials, kWrong, nullptr, kRace),
    BUG(RowSums, PartialsOfNobody, kPoison, nullptr, nullptr),
    BUG(RowSums, BarrierInHalfASimdgroup, kDivergence, nullptr, nullptr),
    BUG(RowSums, BarrierInOneSimdgroup, "divergence: |read before it was written", nullptr, nullptr),
    BUG(RowSums, IdleThreadsReturn, kDivergence, nullptr, nullptr),
    BUG(RowSums, SumInDivergentIf, kDivergence, nullptr, nullptr),
    BUG(RowSums, SumAtTwoPlaces, kDivergence, nullptr, nullptr),
    BUG(RowSums, AllThreadsStore, nullptr, nullptr, kRace),
    BUG(RowSums, AddWithoutAtomics, nullptr, nullptr, kRace),
    BUG(FirstOfSimdgroup, BroadcastOfOwnLane, kDivergence, nullptr, nullptr),
    BUG(FirstOfSimdgroup, BroadcastOfLane32, "lane 32 is asked for", nullptr, nullptr),
    BUG(FirstOfSimdgroup, BroadcastOfWrongLane, kWrong, nullptr, nullptr),
    BUG(FirstOfSimdgroup, TailReturnsBeforeBroadcast, kDivergence, nullptr, nullptr),
    BUG(SwapPairs, LockstepInSimdgroup, kPoison, nullptr, kRace),
    BUG(SwapPairs, LockstepBehindCollective, nullptr, nullptr, kRace),
    BUG(SwapPairs, OverwriteWithoutBarrier, kWrong, nullptr, kRace),
    BUG(SwapPairs, TailReturnsBeforeBarrier, kDivergence, nullptr, nullptr),
    BUG(PairSums, NoTailGuard, nullptr, kBounds, nullptr),
    BUG(PairSums, NextOfLast, nullptr, kBounds, nullptr),
    BUG(PairSums, StoreBeforeFirst, nullptr, kBounds, nullptr),
    BUG(PairSums, LengthOfParent, nullptr, kBounds, nullptr),
    BUG(PairSums, GroupsOverlap, nullptr, nullptr, kRace),
    BUG(TilePrefix, GroupReadsNeighbour, kWrong, nullptr, kRace),
    BUG(FourSums, FourMisaligned, nullptr, nullptr, "misaligned address"),
    BUG(FourSums, FourPastEnd, nullptr, kBounds, nullptr),
    BUG(WordSums, WordMisaligned, nullptr, "misaligned address", nullptr),
    BUG(WordSums, RegisterPastEnd, nullptr, "index 4 out of bounds", nullptr),
    BUG(WordSums, ShiftByWordSize, nullptr, "shift exponent 32 is too large", nullptr),
    BUG(WordSums, SignedOverflow, nullptr, "signed integer overflow", nullptr),
};
constexpr Seeded kTwins[] = {
    BUG(ReverseTiles, None, nullptr, nullptr, nullptr),     BUG(RowSums, None, nullptr, nullptr, nullptr),
    BUG(FirstOfSimdgroup, None, nullptr, nullptr, nullptr), BUG(SwapPairs, None, nullptr, nullptr, nullptr),
    BUG(PairSums, None, nullptr, nullptr, nullptr),         BUG(TilePrefix, None, nullptr, nullptr, nullptr),
    BUG(FourSums, None, nullptr, nullptr, nullptr),         BUG(WordSums, None, nullptr, nullptr, nullptr),
};
#undef BUG

std::vector<Seeded> bugs_of_this_lane() {
  std::vector<Seeded> bugs;
  std::ranges::copy_if(kBugs, std::back_inserter(bugs), [](const Seeded& s) { return s.seen_by[kLane]; });
  return bugs;
}

/// For a process of its own, which a sanitizer may end or give an exit code: 1 where there is a complaint under at
/// least half of the seeds, 2 under fewer, 0 under none.
[[noreturn]] void try_out(std::string (*complaint)(std::uint64_t)) {
  int complaints = 0;
  for (int seed = 1; seed <= kSeeds; ++seed)
    if (const std::string text = complaint(static_cast<std::uint64_t>(seed)); !text.empty()) {
      std::fprintf(stderr, "seed %d: %s\n", seed, text.c_str());
      ++complaints;
    }
  std::exit(2 * complaints >= kSeeds ? 1 : complaints > 0 ? 2 : 0);
}

class SeededBugs : public testing::TestWithParam<Seeded> {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
using SeededBugsDeathTest = SeededBugs;
using SeededTwinsDeathTest = SeededBugs;

TEST_P(SeededBugsDeathTest, IsSeen) {
  // An exit code of 66 is ThreadSanitizer's.
  const auto seen = [](int status) {
    return kLane == 0 ? testing::ExitedWithCode(1)(status) : !testing::ExitedWithCode(0)(status);
  };
  EXPECT_EXIT(try_out(GetParam().complaint), seen, GetParam().seen_by[kLane]);
}
INSTANTIATE_TEST_SUITE_P(Lane, SeededBugsDeathTest, testing::ValuesIn(bugs_of_this_lane()),
                         [](const auto& test) { return std::string(test.param.bug); });

TEST_P(SeededTwinsDeathTest, IsClean) { EXPECT_EXIT(try_out(GetParam().complaint), testing::ExitedWithCode(0), "^$"); }
INSTANTIATE_TEST_SUITE_P(Lane, SeededTwinsDeathTest, testing::ValuesIn(kTwins),
                         [](const auto& test) { return std::string(test.param.kernel); });

TEST(SeededBugTable, EveryBugHasALane) {
  for (const Seeded& s : kBugs) EXPECT_TRUE(s.seen_by[0] || s.seen_by[1] || s.seen_by[2]) << testing::PrintToString(s);
}

}  // namespace
}  // namespace mlx_native::seeded
