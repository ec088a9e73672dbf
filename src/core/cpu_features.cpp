#include "core/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mlx_native {

namespace {

#if defined(__x86_64__)
/// Registers that the operating system saves: the bits of XCR0.
unsigned saved_states() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kOsXsave = 1u << 27;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & kOsXsave)) return 0;
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return eax;
}

/// Linux keeps tiles for a process that asked for it; without, a tile instruction ends it.
bool request_tiles() {
#if defined(__linux__)
  constexpr unsigned kTileConfig = 1u << 17, kTileData = 1u << 18;
  constexpr long kRequestPermission = 0x1023, kStateOfTiles = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return (saved_states() & (kTileConfig | kTileData)) == (kTileConfig | kTileData) &&
         syscall(SYS_arch_prctl, kRequestPermission, kStateOfTiles) == 0;
#else
  return false;
#endif
}

bool is_zen4(bool has_avx512) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!has_avx512 || !__builtin_cpu_is("amd") || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
  const unsigned family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);
  return family == 0x19;  // of Zen 3 and Zen 4
}

CpuFeatures ask() {
  CpuFeatures f;
  __builtin_cpu_init();
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni");
  f.zen4 = is_zen4(f.avx512);
  // Compilers differ in the names that they know of the rest.
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    constexpr unsigned kTiles = 1u << 24 | 1u << 25;  // AMX-TILE, AMX-INT8
    f.amx = f.avx512 && (edx & kTiles) == kTiles && request_tiles();
  }
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
    f.avx_vnni = f.avx2 && (eax >> 4 & 1);
    f.avx512_bf16 = f.avx512 && (eax >> 5 & 1);
  }
  return f;
}
#elif defined(__aarch64__)
CpuFeatures ask() {
  CpuFeatures f;
  f.neon = true;
#if defined(__linux__)
  f.neon_dotprod = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__ARM_FEATURE_DOTPROD)
  f.neon_dotprod = true;
#endif
  return f;
}
#else
CpuFeatures ask() { return {}; }
#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = ask();
  return features;
}

}  // namespace mlx_native
