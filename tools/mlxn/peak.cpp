#include "peak.h"

#include <iterator>
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mlxn {

namespace {

// In assembly, because compilers do not leave such a loop alone: of intrinsics they made a third of the peak. `BODY` is
// repeated for every register r, an accumulator of its own; there are more of them than latency x instructions per
// cycle asks for. Not inlined, so that all vector registers are free to be changed.
#define MLXN_PEAK(NAME, ZERO, REGISTERS, BODY)                                              \
  [[gnu::noinline]] void NAME(std::uint64_t turns) {                                        \
    asm volatile(ZERO "\n.p2align 6\n1:\n.irp r," REGISTERS "\n" BODY "\n.endr\n" MLXN_LOOP \
                 : "+r"(turns)                                                              \
                 :                                                                          \
                 : "memory", "cc");                                                         \
  }

#define MLXN_12 "0,1,2,3,4,5,6,7,8,9,10,11"
#define MLXN_24 MLXN_12 ",12,13,14,15,16,17,18,19,20,21,22,23"

#if defined(__x86_64__)

#define MLXN_LOOP "dec %0\n jnz 1b\n vzeroupper"
#define MLXN_ZERO_YMM ".irp r," MLXN_12 ",12,13,14,15\n vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r\n .endr"
#define MLXN_ZERO_ZMM ".irp r," MLXN_24 ",24,25,26,27,28,29,30,31\n vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r\n .endr"

MLXN_PEAK(avx2_f32, MLXN_ZERO_YMM, MLXN_12, "vfmadd231ps %%ymm12, %%ymm13, %%ymm\\r")
MLXN_PEAK(avx2_i8, MLXN_ZERO_YMM, MLXN_12,
          "vpmaddubsw %%ymm12, %%ymm13, %%ymm14\n vpmaddwd %%ymm14, %%ymm15, %%ymm14\n"
          "vpaddd %%ymm14, %%ymm\\r, %%ymm\\r")
MLXN_PEAK(avx2_i16, MLXN_ZERO_YMM, MLXN_12, "vpmaddwd %%ymm12, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm\\r, %%ymm\\r")
MLXN_PEAK(avxvnni_i8, MLXN_ZERO_YMM, MLXN_12, "%{vex%} vpdpbusd %%ymm12, %%ymm13, %%ymm\\r")
MLXN_PEAK(avxvnni_i16, MLXN_ZERO_YMM, MLXN_12, "%{vex%} vpdpwssd %%ymm12, %%ymm13, %%ymm\\r")
MLXN_PEAK(avx512_f32, MLXN_ZERO_ZMM, MLXN_24, "vfmadd231ps %%zmm30, %%zmm31, %%zmm\\r")
MLXN_PEAK(avx512_i8, MLXN_ZERO_ZMM, MLXN_24,
          "vpmaddubsw %%zmm30, %%zmm31, %%zmm29\n vpmaddwd %%zmm28, %%zmm29, %%zmm29\n"
          "vpaddd %%zmm29, %%zmm\\r, %%zmm\\r")
MLXN_PEAK(avx512_i16, MLXN_ZERO_ZMM, MLXN_24, "vpmaddwd %%zmm30, %%zmm31, %%zmm29\n vpaddd %%zmm29, %%zmm\\r, %%zmm\\r")
MLXN_PEAK(avx512vnni_i8, MLXN_ZERO_ZMM, MLXN_24, "vpdpbusd %%zmm30, %%zmm31, %%zmm\\r")
MLXN_PEAK(avx512vnni_i16, MLXN_ZERO_ZMM, MLXN_24, "vpdpwssd %%zmm30, %%zmm31, %%zmm\\r")
MLXN_PEAK(avx512bf16, MLXN_ZERO_ZMM, MLXN_24, "vdpbf16ps %%zmm30, %%zmm31, %%zmm\\r")

/// Eight tiles of 16 rows of 64 bytes.
struct TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};  // of those that there are; others must be 0
};

#undef MLXN_LOOP
#define MLXN_LOOP "dec %0\n jnz 1b"
#define MLXN_ZERO_TILES ".irp r,0,1,2,3,4,5,6,7\n tilezero %%tmm\\r\n .endr"
MLXN_PEAK(amx_i8_loop, MLXN_ZERO_TILES, "0,1,2,3,4,5", "tdpbusd %%tmm7, %%tmm6, %%tmm\\r")
MLXN_PEAK(amx_bf16_loop, MLXN_ZERO_TILES, "0,1,2,3,4,5", "tdpbf16ps %%tmm7, %%tmm6, %%tmm\\r")

template <void (*loop)(std::uint64_t)>
void with_tiles(std::uint64_t turns) {
  static constexpr TileConfig config;
  asm volatile("ldtilecfg %0" ::"m"(config));
  loop(turns);
  asm volatile("tilerelease");
}

/// Linux gives the tiles' state to processes that ask for it.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestState = 0x1023, kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
#else
  return false;
#endif
}

bool avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool avxvnni() { return __builtin_cpu_supports("avxvnni"); }
bool avx512() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"); }
bool avx512vnni() { return __builtin_cpu_supports("avx512vnni"); }
bool has_avx512bf16() { return __builtin_cpu_supports("avx512bf16"); }
bool amx_int8() { return __builtin_cpu_supports("amx-int8") && may_use_tiles(); }
bool amx_bf16() { return __builtin_cpu_supports("amx-bf16") && may_use_tiles(); }

constexpr double kTile = 2 * 16 * 16;  // operations per value of K

constexpr Peak kPeaks[] = {
    {"avx2", "vfmadd231ps", "f32", 12 * 16, avx2, avx2_f32},
    {"avx2", "vpmaddwd+vpaddd", "i16", 12 * 32, avx2, avx2_i16},
    {"avx2", "vpmaddubsw+vpmaddwd+vpaddd", "i8", 12 * 64, avx2, avx2_i8},
    {"avxvnni", "vpdpwssd", "i16", 12 * 32, avxvnni, avxvnni_i16},
    {"avxvnni", "vpdpbusd", "i8", 12 * 64, avxvnni, avxvnni_i8},
    {"avx512", "vfmadd231ps", "f32", 24 * 32, avx512, avx512_f32},
    {"avx512", "vpmaddwd+vpaddd", "i16", 24 * 64, avx512, avx512_i16},
    {"avx512", "vpmaddubsw+vpmaddwd+vpaddd", "i8", 24 * 128, avx512, avx512_i8},
    {"avx512vnni", "vpdpwssd", "i16", 24 * 64, avx512vnni, avx512vnni_i16},
    {"avx512vnni", "vpdpbusd", "i8", 24 * 128, avx512vnni, avx512vnni_i8},
    {"avx512bf16", "vdpbf16ps", "bf16", 24 * 64, has_avx512bf16, avx512bf16},
    {"amx", "tdpbf16ps", "bf16", 6 * 32 * kTile, amx_bf16, with_tiles<amx_bf16_loop>},
    {"amx", "tdpbusd", "i8", 6 * 64 * kTile, amx_int8, with_tiles<amx_i8_loop>},
};

#elif defined(__aarch64__) && defined(__linux__)

#define MLXN_LOOP "subs %0, %0, #1\n b.ne 1b"
#define MLXN_ZERO \
  ".arch armv8.2-a+dotprod+i8mm+bf16\n.irp r," MLXN_24 ",24,25,26,27,28,29,30,31\n movi v\\r\\().4s, #0\n .endr"

MLXN_PEAK(neon_f32, MLXN_ZERO, MLXN_24, "fmla v\\r\\().4s, v30.4s, v31.4s")
MLXN_PEAK(neon_i16, MLXN_ZERO, MLXN_24, "smlal v\\r\\().4s, v30.4h, v31.4h")
MLXN_PEAK(dotprod_i8, MLXN_ZERO, MLXN_24, "sdot v\\r\\().4s, v30.16b, v31.16b")
MLXN_PEAK(i8mm_i8, MLXN_ZERO, MLXN_24, "smmla v\\r\\().4s, v30.16b, v31.16b")
MLXN_PEAK(bf16_bf16, MLXN_ZERO, MLXN_24, "bfmmla v\\r\\().4s, v30.8h, v31.8h")

bool neon() { return true; }
bool dotprod() { return ::getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
bool i8mm() { return ::getauxval(AT_HWCAP2) & HWCAP2_I8MM; }
bool bf16() { return ::getauxval(AT_HWCAP2) & HWCAP2_BF16; }

constexpr Peak kPeaks[] = {
    {"neon", "fmla", "f32", 24 * 8, neon, neon_f32},         {"neon", "smlal", "i16", 24 * 8, neon, neon_i16},
    {"dotprod", "sdot", "i8", 24 * 32, dotprod, dotprod_i8}, {"i8mm", "smmla", "i8", 24 * 64, i8mm, i8mm_i8},
    {"bf16", "bfmmla", "bf16", 24 * 32, bf16, bf16_bf16},
};

#else

constexpr std::span<const Peak> kPeaks;

#endif

}  // namespace

std::span<const Peak> peaks() { return kPeaks; }

}  // namespace mlxn
