// Packing of x by warps of the group that multiplies: rows that it multiplies later (PackedBehind).
#pragma once

#include "cuda/tensor/row_of_x.cuh"
#include "cuda/tensor/wgmma_loaders.cuh"

namespace mlx_native::cuda {

/// Takes row after row as long as there are any, so that no group waits for one that has not started. A row comes
/// twice, to find its unit and to be packed, in pieces of 16 values a lane. By a warp, whose ring of pieces is at
/// `memory`.
template <bool kFull, class Shape>
struct RowPackers {
  static constexpr uint32_t kPieces = Shape::kPieces, kBytes = Shape::kPieceBytes;
  static_assert(kBytes == 32 * 16 * sizeof(float));

  const WgmmaProblem& p;
  uint32_t lane;
  uint8_t* memory;
  SharedBarrier* full;
  uint32_t pieces = p.k / (kBytes / sizeof(float));  // of a row
  uint32_t place = 0, parity = 0;
  // The next piece that is asked for.
  uint32_t row = told(take()), next = take();
  const uint8_t* from = start_of(row);
  uint32_t ahead = 0;

  /// By the first lane, which does not wait for it; atomicAdd() does.
  __device__ uint32_t take() const {
    uint32_t taken = 0;
    if (lane == 0) asm volatile("atom.global.add.u32 %0, [%1], 1;" : "=r"(taken) : "l"(p.behind.taken) : "memory");
    return taken;
  }
  __device__ uint32_t told(uint32_t taken) const { return p.behind.first_row + __shfl_sync(~0u, taken, 0); }
  __device__ const uint8_t* start_of(uint32_t of_row) const {
    return reinterpret_cast<const uint8_t*>(p.behind.x + uint64_t(of_row) * p.k);
  }

  __device__ __forceinline__ void ask(uint32_t to) {
    if (lane == 0 && row < p.m) {
      full[to].arrive_and_expect(kBytes);
      bulk_copy(memory + to * kBytes, from, kBytes, full[to]);
    }
    from += kBytes;
    ++ahead;
    if (ahead == pieces) from = start_of(row);
    if (ahead < 2 * pieces) return;
    row = told(next), next = take();
    from = start_of(row), ahead = 0;
  }
  /// The next piece that comes. The place of the one before, whose values have been used, is for another: a copy may
  /// overtake loads.
  __device__ __forceinline__ void load(float (&v)[16]) {
    __syncwarp();
    ask(place > 0 ? place - 1 : kPieces - 1);
    full[place].await(parity);
    load_run<true>(reinterpret_cast<const float*>(memory + place * kBytes), lane, kBytes / sizeof(float),
                   kSpanOfX<typename Shape::Format, kFull>, v);
    if (++place == kPieces) place = 0, parity ^= 1;
  }

  __device__ void run() {
    uint32_t now = row, packed = 0;
    for (uint32_t i = 0; i + 1 < kPieces; ++i) ask(i);
    float v[16];
    while (now < p.m) {
      RowPacker<kFull> packer{p.x};
      float most = 0.0f;
#pragma unroll 1
      for (uint32_t i = 0; i < pieces; ++i) {
        load(v);
        packer.look(v, most);
      }
#pragma unroll
      for (int apart = 16; apart > 0; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
      packer.set_unit(most);
      if (lane == 0) p.x.unit[now] = packer.unit;
      const uint32_t done = now;
#pragma unroll 1
      for (uint32_t i = 0; i < pieces; ++i) {
        load(v);
        packer.store_run(32 * i + lane, v, 1, [&](uint32_t) { return done; });
      }
      ++packed;
      now = row;
    }
    __threadfence();
    fence_copies();
    __syncwarp();
    if (lane == 0) atomicAdd(p.behind.taken + 1, packed);
  }
};

}  // namespace mlx_native::cuda
