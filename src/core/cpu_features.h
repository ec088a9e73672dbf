#pragma once

namespace mlx_native {

/// What this processor and its operating system can run. The first ones are the ISAs of cpu/isa.h.
struct CpuFeatures {
  bool portable = true;
  // x86-64
  bool avx2 = false;    ///< with FMA and F16C
  bool avx512 = false;  ///< F, BW, DQ, VL and VNNI
  bool avx_vnni = false;
  bool amx_tile = false, amx_int8 = false, amx_bf16 = false;  ///< to be used after request_amx()
  // Arm, 64 bits
  bool neon = false;
  bool neon_dotprod = false;
};

/// Asked once.
const CpuFeatures& cpu_features();

/// Asks the operating system, once, to keep tile registers for this process; threads that exist have them too. False
/// where the processor lacks AMX or the request is refused: then a tile instruction would end the process.
bool request_amx();

}  // namespace mlx_native
