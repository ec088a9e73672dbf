// Products of few rows of x, each with the quantized weights of some experts, on Hopper.
//
// One warp of a group streams rows of the slots' experts through a ring in shared memory, a box of 16 rows a copy;
// eight multiply a unit of a stage each; another adds up and writes their sums.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/digits.cuh"
#include "cuda/vec/routed_plan.h"
#include "gpu/kernels/math.h"

namespace mlx_native::cuda {

struct RoutedBarriers {
  Handover stages[kRoutedStages];
  Handover slots[kRoutedSlots];  // of a round's sums; all lanes arrive, which is what racecheck can follow
};
static_assert(sizeof(RoutedBarriers) <= RingRoom::kRingAt);

/// A slab: rows `row` to row + 15 of the expert of a slot. Slots that follow each other share rows of x.
struct RoutedSlab {
  const RoutedPlan& p;
  std::uint32_t product, slot, row;
  std::uint32_t token, choice;
  std::uint32_t local;  // which of the group's rows of x
  __device__ __forceinline__ RoutedSlab(const RoutedPlan& plan, std::uint32_t slab) : p(plan), local(0) {
    const std::uint32_t slot_slabs = p.slot_rows / 16, slots = p.tokens * p.top_k;
    slot = slab / slot_slabs;
    row = 16 * (slab - slot * slot_slabs);
    product = slot / slots;
    slot -= product * slots;
    token = slot / p.top_k;
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
  const std::uint32_t warp = threadIdx.x / 32;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  // Slabs of a group: neighbours, a step of them a round.
  const std::uint32_t items = (p.slabs - 1 >> p.step_slabs_log2) + 1, step = 1u << p.step_slabs_log2;
  const std::uint32_t first = std::uint32_t(std::uint64_t(items) * blockIdx.x / gridDim.x) * step;
  const std::uint32_t end = min(std::uint32_t(std::uint64_t(items) * (blockIdx.x + 1) / gridDim.x) * step, p.slabs);
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
      fence_barrier_init();
    }
    const bool whole = !U::kAligned && p.whole;
    if (std::uint32_t(lane) < p.targets && !whole) prefetch_map(p.map[lane].tensor);
    __syncwarp();
    asm volatile("bar.arrive 1, %0;" ::"n"(kThreads + 64) : "memory");
    if (p.wait) await();
    RoutedSlab of(p, min(first + lane, p.slabs - 1));
    std::uint32_t place = 0, parity = 1, slot = ~0u, expert = 0;
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
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads + 64) : "memory");
  await();
  std::uint32_t slot = 0;

  if (warp == kRoutedWarps + 1) {
    std::uint32_t parity = 0;
    for (std::uint32_t begin = first; begin < end; begin += step) {
      float gate[kRoutedWarps / 2];
      for (std::uint32_t pass = 0; pass < passes; ++pass) {
        slots[slot].full.await(parity);
#pragma unroll
        for (std::uint32_t i = 0; i < kRoutedWarps / 2; ++i) {
          const std::uint32_t own = 2 * i + lane / 16;
          if (own >= min(step, end - begin)) break;
          const float* const from = partials + (slot * kRoutedWarps + own * step_units) * 16 + lane % 16;
          float sum = from[0];
          for (std::uint32_t w = 1; w < step_units; ++w) sum += from[16 * w];
          const RoutedSlab of(p, begin + own);
          const std::uint32_t row = of.row + lane % 16;
          const std::uint64_t at = std::uint64_t(of.slot) * p.n + row;
          if (p.ids[of.slot] >= p.n_experts) sum = __uint_as_float(0x7fc00000u);
          if (row >= p.n) continue;
          p.output[of.product + pass][at] = sum;
          if (pass == 0)
            gate[i] = sum;
          else
            p.gated[at] = gpu::silu(gate[i]) * sum;
        }
        slots[slot].empty.arrive();
        if (++slot == kRoutedSlots) slot = 0, parity ^= 1;
      }
    }
    return;
  }

  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const sums_of_x = shared + p.sums_at;
  std::uint8_t* const x = shared + p.x_at;
  RoutedSlab of(p, min(first, p.slabs - 1));
  {
    const RoutedSlab last(p, end - 1);
    const std::uint32_t rows = min(p.tokens, (last.product - of.product) * p.tokens + last.token - of.token + 1);
    split_all_digits<U>(warp, kRoutedWarps, rows * p.units, lane, [&](std::uint32_t i) -> DigitPlace {
      const std::uint32_t row = i < p.units ? 0 : i / p.units, unit = i - row * p.units, token = of.token + row;
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
      // A plane a lane.
      float sum = t < kPlanes ? sums[0][2 * half] : 0.0f;
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (t == 0) partials[(slot * kRoutedWarps + warp) * 16 + g + 8 * half] = sum;
    }
    slots[slot].full.arrive();
    if (++slot == kRoutedSlots) slot = 0, slot_parity ^= 1;
    if (++pass == passes) pass = 0, begin += step, of.advance(step);
  }
#endif
}

}  // namespace mlx_native::cuda
