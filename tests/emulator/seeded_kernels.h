// Small kernels in the dialect of gpu/kernels, each correct but for at most one planted bug. Kernel<Bug::None> is the
// correct twin of all bugs of that kernel.
//
// Besides what launch needs (gpu/launch/families.h) a kernel here says how it is tried: kGroups, kInputs (values of x),
// and reference(x), the exact contents of y.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "gpu/kernels/decode.h"

namespace mlx_native::seeded {

enum class Bug {
  None,
  // ReverseTiles
  NoBarrierAfterWrite,
  NoBarrierBeforeRewrite,
  CollectiveForBarrier,
  TailNotFilled,
  TileReadPastEnd,
  TileWrittenPastEnd,
  ScratchTooSmall,
  // RowSums
  NoBarrierBeforePartials,
  NoBarrierAfterPartials,
  PartialsOfNobody,
  BarrierInHalfASimdgroup,
  BarrierInOneSimdgroup,
  IdleThreadsReturn,
  SumInDivergentIf,
  SumAtTwoPlaces,
  AllThreadsStore,
  AddWithoutAtomics,
  // FirstOfSimdgroup
  BroadcastOfOwnLane,
  BroadcastOfLane32,
  BroadcastOfWrongLane,
  TailReturnsBeforeBroadcast,
  // SwapPairs
  LockstepInSimdgroup,
  LockstepBehindCollective,
  OverwriteWithoutBarrier,
  TailReturnsBeforeBarrier,
  // PairSums
  NoTailGuard,
  NextOfLast,
  StoreBeforeFirst,
  LengthOfParent,
  GroupsOverlap,
  // TilePrefix
  GroupReadsNeighbour,
  // FourSums
  FourMisaligned,
  FourPastEnd,
  // WordSums
  WordMisaligned,
  RegisterPastEnd,
  ShiftByWordSize,
  SignedOverflow,
};

struct Args {
  const K_GLOBAL float* x;
  K_GLOBAL float* y;
};

struct Tiled {
  using Args = seeded::Args;
  K_STATIC int kThreads = 256;
};

/// Reverses each tile of 256 values, the last one filled up with zeros. A group makes several tiles.
template <Bug kBug>
struct ReverseTiles : Tiled {
  K_STATIC int kGroups = 2, kInputs = 4 * 256 + 100;
  K_STATIC int kScratchBytes = kBug == Bug::ScratchTooSmall ? 1008 : 1024;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float* scratch) {
    const uint32_t i = t.thread_in_group();
    for (uint32_t tile = t.group(); 256 * tile < kInputs; tile += t.groups()) {
      const uint32_t at = 256 * tile + i;
      const uint32_t place = kBug == Bug::TileWrittenPastEnd ? i + 1 : i;
      if (at < kInputs)
        scratch[place] = a.x[at];
      else if (kBug != Bug::TailNotFilled)
        scratch[place] = 0.0f;
      if constexpr (kBug == Bug::CollectiveForBarrier)
        (void)t.simd_sum(0.0f);
      else if (kBug != Bug::NoBarrierAfterWrite)
        t.barrier();
      const float value = scratch[kBug == Bug::TileReadPastEnd ? 256 - i : 255 - i];
      if (at < kInputs) a.y[at] = value;
      if (kBug != Bug::NoBarrierBeforeRewrite) t.barrier();
    }
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t from = i / 256 * 256 + 255 - i % 256;
      y.push_back(from < x.size() ? x[from] : 0.0f);
    }
    return y;
  }
};

/// The sums of rows of 200 values, several rows per group.
template <Bug kBug>
struct RowSums : Tiled {
  K_STATIC int kGroups = 2, kRow = 200, kInputs = 6 * kRow;
  K_STATIC int kScratchBytes = kBug == Bug::PartialsOfNobody ? 32 * 4 : kThreads / 32 * 4;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float* scratch) {
    if (kBug == Bug::IdleThreadsReturn && t.thread_in_group() >= kRow) return;
    for (uint32_t row = t.group(); row < kInputs / kRow; row += t.groups()) {
      const uint32_t i = t.thread_in_group();
      float sum = t.simd_sum(i < kRow ? a.x[row * kRow + i] : 0.0f);
      if constexpr (kBug == Bug::AddWithoutAtomics) {
        if (i == 0) a.y[row] = 0.0f;
        t.barrier();
        if (t.lane() == 0) a.y[row] += sum;
        continue;
      }
      if (t.lane() == 0) scratch[t.simdgroup()] = sum;
      if constexpr (kBug == Bug::BarrierInHalfASimdgroup) {
        if (t.lane() < 16) t.barrier();
      } else if constexpr (kBug == Bug::BarrierInOneSimdgroup) {
        if (t.simdgroup() == 0) t.barrier();
      } else if constexpr (kBug != Bug::NoBarrierBeforePartials) {
        t.barrier();
      }
      const bool mine = t.lane() < t.simdgroups();
      if constexpr (kBug == Bug::PartialsOfNobody) {
        sum = t.simd_sum(scratch[t.lane()]);
      } else if constexpr (kBug == Bug::SumInDivergentIf) {
        if (mine) sum = t.simd_sum(scratch[t.lane()]);
      } else if constexpr (kBug == Bug::SumAtTwoPlaces) {
        sum = mine ? t.simd_sum(scratch[t.lane()]) : t.simd_sum(0.0f);
      } else {
        sum = t.simd_sum(mine ? scratch[t.lane()] : 0.0f);
      }
      if (kBug != Bug::NoBarrierAfterPartials) t.barrier();
      if (kBug == Bug::AllThreadsStore || i == 0) a.y[row] = sum;
    }
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y(x.size() / kRow);
    for (std::size_t i = 0; i < x.size(); ++i) y[i / kRow] += x[i];
    return y;
  }
};

/// y[i] = the value of the first lane of i's simdgroup.
template <Bug kBug>
struct FirstOfSimdgroup : Tiled {
  K_STATIC int kGroups = 2, kInputs = 256 + 150, kScratchBytes = 0;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float*) {
    const uint32_t i = t.group() * t.threads_in_group() + t.thread_in_group();
    if (kBug == Bug::TailReturnsBeforeBroadcast && i >= kInputs) return;
    const float x = i < kInputs ? a.x[i] : 0.0f;
    const uint32_t lane = kBug == Bug::BroadcastOfOwnLane     ? t.lane()
                          : kBug == Bug::BroadcastOfLane32    ? 32
                          : kBug == Bug::BroadcastOfWrongLane ? 1
                                                              : 0;
    const float first = t.simd_broadcast(x, lane);
    if (i < kInputs) a.y[i] = first;
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y;
    for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i / 32 * 32]);
    return y;
  }
};

/// Swaps neighbours in scratch.
template <Bug kBug>
struct SwapPairs : Tiled {
  K_STATIC int kGroups = 2, kInputs = 256 + 150, kScratchBytes = 1024;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float* scratch) {
    const uint32_t i = t.thread_in_group(), at = t.group() * 256 + i;
    if (kBug == Bug::TailReturnsBeforeBarrier && at >= kInputs) return;
    scratch[i] = at < kInputs ? a.x[at] : 0.0f;
    if constexpr (kBug == Bug::LockstepBehindCollective)
      (void)t.simd_sum(0.0f);
    else if (kBug != Bug::LockstepInSimdgroup)
      t.barrier();
    const float other = scratch[i ^ 1];
    if (kBug != Bug::OverwriteWithoutBarrier) t.barrier();
    scratch[i] = other;
    if (at < kInputs) a.y[at] = scratch[i];
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y;
    for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i ^ 1]);
    return y;
  }
};

/// y[i] = x[i] + x[i + 1] over a view that begins 64 values into x and ends with it; beyond the end is 0.
template <Bug kBug>
struct PairSums : Tiled {
  K_STATIC int kGroups = 2, kFirst = 64, kInputs = kFirst + 256 + 100, kScratchBytes = 0;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float*) {
    const K_GLOBAL float* const x = a.x + kFirst;
    const uint32_t n = kBug == Bug::LengthOfParent ? kInputs : kInputs - kFirst;
    const uint32_t overlap = kBug == Bug::GroupsOverlap ? t.group() : 0;
    const uint32_t i = t.group() * t.threads_in_group() + t.thread_in_group() - overlap;
    if (kBug != Bug::NoTailGuard && i >= n) return;
    const float next = kBug == Bug::NextOfLast || i + 1 < n ? x[i + 1] : 0.0f;
    a.y[kBug == Bug::StoreBeforeFirst ? int(i) - 1 : int(i)] = x[i] + next;
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y(x.begin() + kFirst, x.end());
    for (std::size_t i = 0; i + 1 < y.size(); ++i) y[i] += y[i + 1];
    return y;
  }
};

/// y[g] = the sum of tiles 0 to g, of 256 values each.
template <Bug kBug>
struct TilePrefix : Tiled {
  K_STATIC int kGroups = 5, kInputs = kGroups * 256, kScratchBytes = 0;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float*) {
    if (t.thread_in_group() != 0) return;
    const uint32_t g = t.group();
    float sum = 0.0f;
    for (uint32_t i = kBug == Bug::GroupReadsNeighbour ? g * 256 : 0; i < (g + 1) * 256; ++i) sum += a.x[i];
    if (kBug == Bug::GroupReadsNeighbour && g > 0) sum += a.y[g - 1];
    a.y[g] = sum;
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y(kGroups);
    float sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) y[i / 256] = sum += x[i];
    return y;
  }
};

/// The sums of four neighbours; what is left over at the end is not used.
template <Bug kBug>
struct FourSums : Tiled {
  K_STATIC int kGroups = 1, kInputs = 4 * 200 + 3, kScratchBytes = 0;

  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float*) {
    const uint32_t i = t.thread_in_group(), fours = kInputs / 4;
    if (i >= (kBug == Bug::FourPastEnd ? fours + 1 : fours)) return;
    const K_GLOBAL float* const x = a.x + 4 * i + (kBug == Bug::FourMisaligned ? 1 : 0);
    const gpu::Four four = *reinterpret_cast<const K_GLOBAL gpu::Four*>(x);
    a.y[i] = (four.v[0] + four.v[1]) + (four.v[2] + four.v[3]);
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y(x.size() / 4);
    for (std::size_t i = 0; i < y.size() * 4; ++i) y[i / 4] += x[i];
    return y;
  }
};

/// x is blocks of 18 bytes: two that are not used, then four words, of which word j counts with its low 8 j + 8 bits.
template <Bug kBug>
struct WordSums : Tiled {
  K_STATIC int kGroups = 1, kBlocks = 100, kInputs = kBlocks * 18 / 4, kScratchBytes = 0;

  static K_FN uint32_t low_bits(uint32_t word, uint32_t bits) {
    if (kBug != Bug::ShiftByWordSize && bits == 32) return word;
    return word & ((1u << bits) - 1);
  }
  template <class Thread>
  static K_FN void run(Thread t, const Args& a, K_SHARED float*) {
    const uint32_t i = t.thread_in_group();
    if (i >= kBlocks) return;
    const K_GLOBAL uint8_t* const block = reinterpret_cast<const K_GLOBAL uint8_t*>(a.x) + 18 * i + 2;
    gpu::Words<4> words = {};
    for (int j = 0; j < 4; ++j) {
      if constexpr (kBug == Bug::WordMisaligned)
        words.word[j] = gpu::load_as<uint32_t>(block + 4 * j);
      else
        words.word[j] = gpu::LaneReader<1, 2>{j}.load(block).word[0];
    }
    // A bound that no compiler sees through: 4, or, with the bug, 5.
    const uint32_t count = kBug == Bug::RegisterPastEnd ? 4 + t.simdgroups() / 8 : 4;
    float sum = 0.0f;
    for (uint32_t j = 0; j < count; ++j) sum += float(low_bits(words.word[j], 8 * (j % 4) + 8));
    if (kBug == Bug::SignedOverflow) sum += float(int(i) * int(t.threads_in_group() << 20) > 0 ? 0 : 0.5f);
    a.y[i] = sum;
  }
  static std::vector<float> reference(std::span<const float> x) {
    std::vector<float> y;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      float sum = 0.0f;
      for (int j = 0; j < 4; ++j) {
        uint32_t word;
        std::memcpy(&word, std::as_bytes(x).data() + 18 * i + 2 + 4 * j, sizeof word);
        sum += float(j == 3 ? word : word % (1u << (8 * j + 8)));
      }
      y.push_back(sum);
    }
    return y;
  }
};

}  // namespace mlx_native::seeded
