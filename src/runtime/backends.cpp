#include "runtime/backends.h"

#include <array>

#include "cpu/backend.h"
#if MLXN_CUDA
#include "cuda/backend.h"
#endif
#if MLXN_EMULATOR
#include "emulator/backend.h"
#endif

namespace mlx_native::detail {

std::span<const BackendEntry> backends() {
  static const std::array entries {
#if MLXN_CUDA
    cuda::backend_entry(),
#endif
        cpu::backend_entry(),
#if MLXN_EMULATOR
        emulator::backend_entry(),
#endif
  };
  return entries;
}

}  // namespace mlx_native::detail
