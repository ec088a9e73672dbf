#pragma once

namespace mlx_native {

/// What this processor and its operating system can run.
struct CpuFeatures {
  bool avx2 = false;    ///< with FMA and F16C
  bool avx512 = false;  ///< F, BW, DQ, VL and VNNI
};

/// Asked once.
const CpuFeatures& cpu_features();

}  // namespace mlx_native
