// How much the tests run. The plain build runs everything; where every instruction is instrumented (sanitizers) or
// emulated (Arm on x86), the same tests run fewer sizes and only the kernels that such a build has something to say of.
#pragma once

#include <memory>
#include <vector>

#include "cpu/kernels.h"
#include "runtime/kernel.h"

namespace mlx_native::test {

#if MLXN_SANITIZED || MLXN_EMULATED_ISA
inline constexpr bool kSlow = true;
#else
inline constexpr bool kSlow = false;
#endif

/// ThreadSanitizer looks at how work is shared, which is written once for all ISAs: the preferred one shows it.
/// Emulated Arm runs its own ISAs and not the portable one.
inline bool runs_here([[maybe_unused]] const detail::Kernel& kernel) {
#if MLXN_TSAN
  return kernel.backend != Backend::Cpu || kernel.name.starts_with("cpu." + cpu::preferred_isa().value() + ".");
#elif MLXN_EMULATED_ISA
  return !kernel.name.starts_with("cpu.portable.");
#else
  return true;
#endif
}

/// The kernels of a backend that this build tests.
inline std::vector<std::shared_ptr<const detail::Kernel>> kernels_of(Backend backend) {
  std::vector<std::shared_ptr<const detail::Kernel>> all;
  for (const auto& kernel : detail::builtin_kernels())
    if (kernel->backend == backend && runs_here(*kernel)) all.push_back(kernel);
  return all;
}

}  // namespace mlx_native::test
