#pragma once

/// Before a loop of at most 16 turns whose index picks registers. With sanitizers nothing stays in registers, and clang
/// takes a minute for a file that is unrolled instead of two seconds.
#if MLXN_SANITIZED
#define MLXN_UNROLL
#elif defined(__clang__)
#define MLXN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MLXN_UNROLL _Pragma("GCC unroll 16")
#endif
