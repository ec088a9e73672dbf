// Products of few rows of x, each with the quantized weights of some experts, on Hopper.
//
// One warp of a group streams rows of the slots' experts through a ring in shared memory, a box of 16 rows a copy;
// eight multiply a unit of a stage each; another adds up and writes their sums.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/digits.cuh"
#include "cuda/vec/pace.cuh"
#include "cuda/vec/routed_plan.h"
#include "gpu/kernels/math.h"

namespace mlx_native::cuda {

struct RoutedBarriers {
  Handover stages[kRoutedStages];
  Handover slots[kRoutedSlots];  // of a round's sums; all lanes arrive, which is what racecheck can follow
  SharedBarrier split;           // x is
};
static_assert(sizeof(RoutedBarriers) <= RingRoom::kRingAt);

/// A slab: rows `row` to row + 15 of the expert of a slot. Slots that follow each other share rows of x.
struct RoutedSlab {
  const RoutedPlan& p;
  std::uint32_t product, slot, row;
  std::uint32_t token, choice;
  std::uint32_t local;  // which of the group's rows of x
  __device__ __forceinline__ RoutedSlab(const RoutedPlan& plan, std::uint32_t slab) : p(plan), local(0) {
    const std::uint32_t slots = p.tokens * p.top_k;
    slot = p.by_slot_slabs(slab);
    row = 16 * slab - slot * p.slot_rows;
    for (product = 0; slot >= slots; ++product) slot -= slots;
    token = p.by_top_k(slot);
    choice = slot - token * p.top_k;
  }
  __device__ __forceinline__ void advance(std::uint32_t slabs) {
    row += 16 * slabs;
    while (row >= p.slot_rows) {
      row -= p.slot_rows;
      ++slot;
      if (++choice < p.top_k) continue;
      choice = 0;
      if (++local == p.tokens) local = 0;
      if (++token == p.tokens) token = slot = 0, ++product;
    }
  }
};

template <class Format>
__global__ void __launch_bounds__(32 * (kRoutedWarps + 2), 2) routed_kernel(const __grid_constant__ RoutedPlan p) {
#if __CUDA_ARCH__ >= 900
  using U = DigitUnit<Format>;
  constexpr int kThreads = 32 * kRoutedWarps, kColumns = DigitColumns<1>::columns;
  extern __shared__ __align__(128) std::uint8_t shared[];
  RoutedBarriers& barriers = *reinterpret_cast<RoutedBarriers*>(shared);
  Handover *const stages = barriers.stages, *const slots = barriers.slots;
  std::uint8_t* const ring = shared + RingRoom::kRingAt;
  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  const std::uint32_t warp = own_warp();
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  // Slabs of a group: neighbours, a step of them a round.
  const std::uint32_t step = 1u << p.step_slabs_log2;
  const std::uint32_t first = (p.each * blockIdx.x + min(blockIdx.x, p.more)) * step;
  const std::uint32_t end = min(first + (p.each + (blockIdx.x < p.more ? 1 : 0)) * step, p.slabs);
  const std::uint32_t step_units = 1u << p.step_units_log2;
  const std::uint32_t passes = p.gated ? 2 : 1;  // over a step's slabs, each a round

  if (!p.settles) allow_next();
  const auto await = [&] {
    await_previous();
    if (p.settles) allow_next();
  };
  if (warp == kRoutedWarps) {
    if (lane == 0) {
      for (std::uint32_t i = 0; i < p.stages; ++i) stages[i].full.init(1), stages[i].empty.init_for_warps(kRoutedWarps);
      for (std::uint32_t i = 0; i < kRoutedSlots; ++i) slots[i].full.init(kThreads), slots[i].empty.init(32);
      barriers.split.init(1);
      fence_barrier_init();
    }
    const bool whole = !U::kAligned && p.whole;
    if (std::uint32_t(lane) < p.targets && !whole) prefetch_map(p.map[lane].tensor);
    __syncwarp();
    asm volatile("bar.arrive 1, %0;" ::"n"(kThreads + 64) : "memory");
    RoutedSlab of(p, min(first + lane, p.slabs - 1));
    if (p.wait) await();
    std::uint32_t place = 0, parity = 1, slot = ~0u, expert = 0;
    // Until x is split, one stage but where products take less time than their bytes.
    constexpr std::uint32_t kEarly = U::kRowBytes > 210 ? kRoutedAhead : 1;
    Pace pace{kEarly, p.stages};
    std::uint32_t more = kRoutedAhead - kEarly;
    for (std::uint32_t begin = first; begin < end; begin += step) {
      const bool wanted = std::uint32_t(lane) < min(step, end - begin);
      // Of a whole slab whole pieces of 16 bytes: memory is handed out by them.
      const std::uint32_t own = whole ? (min(p.n - of.row, 16u) * p.pitch + 15) / 16 * 16 : 16 * p.pitch;
      const std::uint32_t all = __reduce_add_sync(0xffffffffu, wanted ? own : 0);
      if (wanted && of.slot != slot) {
        slot = of.slot, expert = __ldcg(p.ids + slot);
        if (expert >= p.n_experts) expert = 0;
      }
      for (std::uint32_t pass = 0; pass < passes; ++pass) {
        const CUtensorMap& map = p.map[of.product + pass].tensor;
        for (std::uint32_t unit = 0; unit < p.units; unit += step_units) {
          if (more > 0 && barriers.split.has_ended(0)) pace.ahead += more, more = 0;
          pace.keep(stages);
          stages[place].empty.await(parity);
          if (lane == 0) stages[place].full.arrive_and_expect(all);
          __syncwarp();
          if (wanted) {
            std::uint8_t* const to = ring + place * p.stage_bytes + lane * 16 * p.pitch;
            const std::uint32_t column = unit * U::kRowBytes / 16 * (16 / kMapUnit);
            // Experts of one token are distinct, and their weights are read once.
            const bool once = p.tokens == 1;
            if (whole) {
              const std::uint8_t* const from =
                  p.weight[of.product + pass] + expert * p.expert_stride + std::uint64_t(of.row) * p.pitch;
              once ? bulk_copy_once(to, from, own, stages[place].full) : bulk_copy(to, from, own, stages[place].full);
            } else if (once)
              box_copy_once(to, map, column, of.row, expert, stages[place].full);
            else
              box_copy(to, map, column, of.row, expert, stages[place].full);
          }
          if (++place == p.stages) place = 0, parity ^= 1;
        }
      }
      of.advance(step);
    }
    return;
  }
  RoutedSlab of(p, min(first, p.slabs - 1));
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads + 64) : "memory");
  await();
  std::uint32_t slot = 0;

  if (warp == kRoutedWarps + 1) {
    std::uint32_t parity = 0;
    of.advance(lane / 16);
    for (std::uint32_t begin = first; begin < end; begin += step, of.advance(step)) {
      RoutedSlab own = of;
      std::uint32_t expert = p.ids[own.slot];
      for (std::uint32_t pass = 0; pass < passes; ++pass) slots[slot + pass].full.await(parity);
#pragma unroll 1
      for (std::uint32_t i = lane / 16; i < min(step, end - begin); i += 2) {
        if (i >= 2) own.advance(2), expert = p.ids[own.slot];
        const auto total = [&](std::uint32_t pass) {
          const float* const from = partials + ((slot + pass) * kRoutedWarps + i * step_units) * 16 + lane % 16;
          float sum = 0.0f;
#pragma unroll
          for (std::uint32_t w = 0; w < kRoutedWarps; ++w) sum += w < step_units ? from[16 * w] : 0.0f;
          return expert < p.n_experts ? sum : __uint_as_float(0x7fc00000u);
        };
        const std::uint32_t row = own.row + lane % 16;
        const std::uint64_t at = std::uint64_t(own.slot) * p.n + row;
        if (row < p.n) {
          const float sum = total(0);
          p.output[own.product][at] = sum;
          if (p.gated) {
            const float up = total(1);
            p.output[1][at] = up;
            p.gated[at] = gpu::silu(sum) * up;
          }
        }
      }
      __syncwarp();
      for (std::uint32_t pass = 0; pass < passes; ++pass) slots[slot + pass].empty.arrive();
      slot += passes;
      if (slot == kRoutedSlots) slot = 0, parity ^= 1;
    }
    return;
  }

  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const sums_of_x = shared + p.sums_at;
  std::uint8_t* const x = shared + p.x_at;
  {
    const RoutedSlab last(p, end - 1);
    const std::uint32_t rows = min(p.tokens, (last.product - of.product) * p.tokens + last.token - of.token + 1);
    split_all_digits<U>(warp, kRoutedWarps, rows * p.units, lane, [&](std::uint32_t i) -> DigitPlace {
      const std::uint32_t row = p.by_units(i), unit = i - row * p.units, token = of.token + row;
      return {p.input + std::uint64_t(token < p.tokens ? token : token - p.tokens) * p.k + unit * U::kValues,
              x + row * kPlanes * p.x_stride + unit * U::kXBytes,
              p.x_stride,
              sums_of_x + i * (U::kSumBytes * kColumns),
              factors + i * kColumns,
              kColumns,
              0,
              2};
    });
  }
  asm volatile("bar.sync 2, %0;" ::"n"(kThreads) : "memory");
  if (threadIdx.x == 0) barriers.split.arrive();

  // The lane's column: plane g / 2. Odd ones and those of no plane repeat another, and their sums are not used.
  const std::uint8_t* const column = x + min(g / 2, kPlanes - 1) * p.x_stride;
  const std::uint32_t own_unit = warp & step_units - 1, own_slab = warp >> p.step_units_log2;
  const std::uint8_t* const own_row = ring + (16 * own_slab + g) * p.pitch + own_unit * U::kRowBytes;
  std::uint32_t place = 0, parity = 0, slot_parity = 1;
  of.advance(own_slab);
  // A pass after the other.
  for (std::uint32_t begin = first, pass = 0; begin < end;) {
    const bool works = begin + own_slab < end;
    Sums<1> sums = {};
    for (std::uint32_t unit = 0; unit < p.units; unit += step_units) {
      stages[place].full.await(parity);
      if (const std::uint32_t own = unit + own_unit; own < p.units && works) {
        const std::uint32_t of_x = of.local * p.units + own;
        DigitColumns<1> columns;
        columns.at[0] = column + of.local * kPlanes * p.x_stride + own * U::kXBytes;
        columns.sums = sums_of_x + of_x * (U::kSumBytes * kColumns);
        columns.factor[0] = *reinterpret_cast<const float2*>(factors + of_x * kColumns + 2 * t);
        // Copies begin at multiples of 16 bytes.
        const std::uint32_t before = U::kAligned ? 0 : unit * U::kRowBytes % 16;
        const std::uint8_t* const row = own_row + place * p.stage_bytes + before;
        U::template add<1>({{row, row + 8 * p.pitch}}, columns, g, t, sums);
      }
      __syncwarp();
      stages[place].empty.arrive_as_warp(lane);
      if (++place == p.stages) place = 0, parity ^= 1;
    }
    slots[slot].empty.await(slot_parity);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = add_planes(sums[0][2 * half], t);
      if (t == 0) partials[(slot * kRoutedWarps + warp) * 16 + g + 8 * half] = sum;
    }
    slots[slot].full.arrive();
    if (++slot == kRoutedSlots) slot = 0, slot_parity ^= 1;
    if (++pass == passes) pass = 0, begin += step, of.advance(step);
  }
#endif
}

}  // namespace mlx_native::cuda
