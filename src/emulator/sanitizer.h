// What the sanitizers must be told about fibers. MLXN_ASAN and MLXN_TSAN come from the build: compilers differ in how
// they say it, and the room's own code is built without ThreadSanitizer, which then sees the kernels alone.
#pragma once

#if MLXN_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace mlx_native::emulator {

#if MLXN_ASAN
inline constexpr bool kAsan = true;
#else
inline constexpr bool kAsan = false;
#endif
#if MLXN_TSAN
inline constexpr bool kTsan = true;
#else
inline constexpr bool kTsan = false;
#endif

}  // namespace mlx_native::emulator

#if MLXN_TSAN
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif
