#pragma once

namespace mlx_native {

/// What this processor and its operating system can run. The first ones are the ISAs of cpu/isa.h.
struct CpuFeatures {
  bool portable = true;
  // x86-64
  bool avx2 = false;         ///< with FMA and F16C
  bool avx512 = false;       ///< F, BW, DQ, VL and VNNI
  bool avx512_bf16 = false;  ///< AVX-512 and AVX512_BF16
  bool avx_vnni = false;
  bool amx = false;  ///< AVX-512 and AMX-INT8, whose tiles the operating system grants this process when it is asked
  // Arm, 64 bits
  bool neon = false;
  bool neon_dotprod = false;

  bool zen4 = false;  ///< a processor of that family, with AVX-512
};

/// Asked once. Threads that exist and those to come may use what there is.
const CpuFeatures& cpu_features();

}  // namespace mlx_native
