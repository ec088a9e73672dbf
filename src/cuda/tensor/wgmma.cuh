// The instructions of Hopper's tensor cores and of its copies that complete on barriers in shared memory.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/tensor/mma.cuh"

namespace mlx_native::cuda {

/// How many lanes of a warp say that it is done with a place. racecheck does not follow one lane's arrival behind
/// __syncwarp(), so for it all of them do, which costs 0.5 % of decode.
#ifdef MLXN_CUDA_ALL_LANES_ARRIVE
constexpr uint32_t kArrivingLanes = 32;
#else
constexpr uint32_t kArrivingLanes = 1;
#endif

/// A barrier in shared memory, whose phases end after `count` arrivals and all announced bytes.
struct SharedBarrier {
  uint64_t state;

  __device__ void init(uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(count) : "memory");
  }
  /// For arrive_as_warp().
  __device__ void init_for_warps(uint32_t count) { init(count * kArrivingLanes); }
  /// By all lanes of a warp.
  __device__ void arrive_as_warp(uint32_t lane) {
    if (lane < kArrivingLanes) arrive();
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(this)) : "memory");
  }
  __device__ void arrive_and_expect(uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)), "r"(bytes)
                 : "memory");
  }
  /// When all of this thread's copy_16_to() so far are there.
  __device__ void arrive_after_copies() {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(this)) : "memory");
  }
  /// Whether the phase of this parity has ended.
  __device__ bool has_ended(uint32_t parity) {
    uint32_t ended;
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(ended)
                 : "r"(shared_address(this)), "r"(parity)
                 : "memory");
    return ended;
  }
  /// Until the phase of this parity has ended.
  __device__ void await(uint32_t parity) {
    uint32_t ended = 0;
    while (!ended)
      asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                   : "=r"(ended)
                   : "r"(shared_address(this)), "r"(parity)
                   : "memory");
  }
};

/// Of a place that some fill and others empty.
struct Handover {
  SharedBarrier full, empty;
};

/// Makes init() of barriers known to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// Between what threads wrote to shared memory, as far as this one knows of it, and the tensor cores' reading of it.
__device__ __forceinline__ void fence_tensor_reads() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// Between what threads wrote to memory, as far as this one knows of it, and what the copy engine reads there.
__device__ __forceinline__ void fence_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }
/// 16 bytes, by this thread.
__device__ __forceinline__ void copy_16_to(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
/// Copies a multiple of 16 bytes; they count as arrived at `barrier` when they are there.
__device__ __forceinline__ void bulk_copy(void* to, const void* from, uint32_t bytes, SharedBarrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(&barrier))
               : "memory");
}
/// To where `to` is in both groups of a cluster, at whose barriers it counts.
__device__ __forceinline__ void bulk_copy_to_both(void* to, const void* from, uint32_t bytes, SharedBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], "
      "%4;" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier)), "h"(uint16_t(3))
      : "memory");
}
/// Lets the copy engine know a map before its first copy.
__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
/// bulk_copy() of what is read once: it leaves L2 before anything else does, such as code and activations.
__device__ __forceinline__ void bulk_copy_once(void* to, const void* from, uint32_t bytes, SharedBarrier& barrier) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier)), "l"(policy)
      : "memory");
}
/// The box of `map` from column x, row y and matrix z on, to a multiple of 128 bytes.
__device__ __forceinline__ void box_copy(void* to, const CUtensorMap& map, uint32_t x, uint32_t y, uint32_t z,
                                         SharedBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(shared_address(to)),
      "l"(&map), "r"(x), "r"(y), "r"(z), "r"(shared_address(&barrier))
      : "memory");
}
/// box_copy() of what is read once: it leaves L2 before anything else does, such as code and activations.
__device__ __forceinline__ void box_copy_once(void* to, const CUtensorMap& map, uint32_t x, uint32_t y, uint32_t z,
                                              SharedBarrier& barrier) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_address(to)),
      "l"(&map), "r"(x), "r"(y), "r"(z), "r"(shared_address(&barrier)), "l"(policy)
      : "memory");
}

/// Where the groups of a cluster have what this one has at p.
__device__ __forceinline__ uint32_t address_in_group(const void* p, uint32_t group) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(group));
  return there;
}
/// At a barrier there.
__device__ __forceinline__ void arrive_in_group(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void store_to_group(uint32_t to, float a, float b, float c, float d) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(a), "f"(b), "f"(c), "f"(d)
               : "memory");
}
/// Until all threads of the cluster that have not ended are here, and what they stored is seen.
__device__ __forceinline__ void meet_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// The same by one thread of a warp: by who copied to where others store next, an order that racecheck can follow.
__device__ __forceinline__ void meet_cluster_alone() {
  asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}

/// Registers per thread of this warpgroup from now on. All of its warps do it.
template <int kRegisters>
__device__ __forceinline__ void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// What wgmma is told of an operand in shared memory. The upper half is a constant, so that sums need one instruction.
struct Operand {
  uint32_t lower, upper;

  /// 16 n bytes further.
  __device__ __forceinline__ Operand operator+(uint32_t n) const { return {lower + n, upper}; }
  __device__ __forceinline__ operator uint64_t() const { return uint64_t(upper) << 32 | lower; }
};

/// Rows of 128 bytes with the 128-byte swizzle, at a multiple of 1024 bytes. The next 16 columns of f16 are 2 further.
__device__ __forceinline__ Operand operand(const void* rows) {
  constexpr uint32_t kSwizzle128 = uint32_t(1) << 30, kEightRows = 1024 / 16;
  return {uint32_t(1) << 16 | (shared_address(rows) & 0x3ffff) >> 4, kSwizzle128 | kEightRows};
}

/// The same, and what is made of it, not to be made anew for every use, as the compiler does with constants.
__device__ __forceinline__ Operand kept(Operand x) {
  asm volatile("" : "+r"(x.upper));
  return x;
}

/// Rows of 32 bytes with the 32-byte swizzle.
__device__ __forceinline__ Operand operand_32(const void* rows) {
  constexpr uint32_t kSwizzle32 = uint32_t(3) << 30, kEightRows = 256 / 16;
  return {uint32_t(1) << 16 | (shared_address(rows) & 0x3ffff) >> 4, kSwizzle32 | kEightRows};
}

__device__ __forceinline__ void wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wgmma_await() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// sums (64 x kColumns) += a (64 x 16) * b (kColumns x 16)^T. Warp w of the warpgroup holds rows 16 w to 16 w + 15 of a
/// as mma_m16n8k16 does, and its lane 4 g + t of the sums, for columns 8 j + 2 t and the next one, rows 16 w + g (sums
/// 4 j, 4 j + 1) and 16 w + g + 8. Without kAdd the sums begin with this product. The registers of a and of the sums
/// are in use until wgmma_await.
template <int kColumns>
struct Wgmma;

#define MLXN_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define MLXN_8(i) MLXN_4(i), MLXN_4(i + 4)
#define MLXN_WGMMA_ONE(columns, registers, a0, a1, a2, a3, b, add, ...)                                           \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.f16.f16 {" registers "}, {" a0 "," a1 "," a2 \
               "," a3 "}, " b ", " add ", 1, 1, 0;"                                                               \
               : __VA_ARGS__                                                                                      \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(columns_of_b))
#define MLXN_WGMMA(columns, registers, a0, a1, a2, a3, b, ...)                                                     \
  template <>                                                                                                      \
  struct Wgmma<columns> {                                                                                          \
    template <bool kAdd = true, int kSums>                                                                         \
    static __device__ __forceinline__ void run(float (&d)[kSums], const uint32_t (&a)[4], uint64_t columns_of_b) { \
      if constexpr (kAdd)                                                                                          \
        MLXN_WGMMA_ONE(columns, registers, a0, a1, a2, a3, b, "1", __VA_ARGS__);                                   \
      else                                                                                                         \
        MLXN_WGMMA_ONE(columns, registers, a0, a1, a2, a3, b, "0", __VA_ARGS__);                                   \
    }                                                                                                              \
  };
// clang-format off
#define MLXN_R8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define MLXN_D8 MLXN_8(0)
MLXN_WGMMA(16, MLXN_R8, "%8", "%9", "%10", "%11", "%12", MLXN_D8)
#define MLXN_R16 MLXN_R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define MLXN_D16 MLXN_D8, MLXN_8(8)
MLXN_WGMMA(32, MLXN_R16, "%16", "%17", "%18", "%19", "%20", MLXN_D16)
#define MLXN_R24 MLXN_R16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define MLXN_D24 MLXN_D16, MLXN_8(16)
MLXN_WGMMA(48, MLXN_R24, "%24", "%25", "%26", "%27", "%28", MLXN_D24)
#define MLXN_R32 MLXN_R24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define MLXN_D32 MLXN_D24, MLXN_8(24)
MLXN_WGMMA(64, MLXN_R32, "%32", "%33", "%34", "%35", "%36", MLXN_D32)
#define MLXN_R40 MLXN_R32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define MLXN_D40 MLXN_D32, MLXN_8(32)
MLXN_WGMMA(80, MLXN_R40, "%40", "%41", "%42", "%43", "%44", MLXN_D40)
#define MLXN_R48 MLXN_R40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define MLXN_D48 MLXN_D40, MLXN_8(40)
MLXN_WGMMA(96, MLXN_R48, "%48", "%49", "%50", "%51", "%52", MLXN_D48)
#define MLXN_R56 MLXN_R48 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define MLXN_D56 MLXN_D48, MLXN_8(48)
MLXN_WGMMA(112, MLXN_R56, "%56", "%57", "%58", "%59", "%60", MLXN_D56)
#define MLXN_R64 MLXN_R56 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define MLXN_D64 MLXN_D56, MLXN_8(56)
MLXN_WGMMA(128, MLXN_R64, "%64", "%65", "%66", "%67", "%68", MLXN_D64)
#define MLXN_R72 MLXN_R64 ",%64,%65,%66,%67,%68,%69,%70,%71"
#define MLXN_D72 MLXN_D64, MLXN_8(64)
MLXN_WGMMA(144, MLXN_R72, "%72", "%73", "%74", "%75", "%76", MLXN_D72)
#define MLXN_R80 MLXN_R72 ",%72,%73,%74,%75,%76,%77,%78,%79"
#define MLXN_D80 MLXN_D72, MLXN_8(72)
MLXN_WGMMA(160, MLXN_R80, "%80", "%81", "%82", "%83", "%84", MLXN_D80)
#define MLXN_R88 MLXN_R80 ",%80,%81,%82,%83,%84,%85,%86,%87"
#define MLXN_D88 MLXN_D80, MLXN_8(80)
MLXN_WGMMA(176, MLXN_R88, "%88", "%89", "%90", "%91", "%92", MLXN_D88)
#define MLXN_R96 MLXN_R88 ",%88,%89,%90,%91,%92,%93,%94,%95"
#define MLXN_D96 MLXN_D88, MLXN_8(88)
MLXN_WGMMA(192, MLXN_R96, "%96", "%97", "%98", "%99", "%100", MLXN_D96)
#define MLXN_R104 MLXN_R96 ",%96,%97,%98,%99,%100,%101,%102,%103"
#define MLXN_D104 MLXN_D96, MLXN_8(96)
MLXN_WGMMA(208, MLXN_R104, "%104", "%105", "%106", "%107", "%108", MLXN_D104)
#define MLXN_R112 MLXN_R104 ",%104,%105,%106,%107,%108,%109,%110,%111"
#define MLXN_D112 MLXN_D104, MLXN_8(104)
MLXN_WGMMA(224, MLXN_R112, "%112", "%113", "%114", "%115", "%116", MLXN_D112)
#define MLXN_R120 MLXN_R112 ",%112,%113,%114,%115,%116,%117,%118,%119"
#define MLXN_D120 MLXN_D112, MLXN_8(112)
MLXN_WGMMA(240, MLXN_R120, "%120", "%121", "%122", "%123", "%124", MLXN_D120)
#define MLXN_R128 MLXN_R120 ",%120,%121,%122,%123,%124,%125,%126,%127"
#define MLXN_D128 MLXN_D120, MLXN_8(120)
MLXN_WGMMA(256, MLXN_R128, "%128", "%129", "%130", "%131", "%132", MLXN_D128)
// clang-format on
#undef MLXN_WGMMA
#undef MLXN_WGMMA_ONE
#undef MLXN_8
#undef MLXN_4

}  // namespace mlx_native::cuda
