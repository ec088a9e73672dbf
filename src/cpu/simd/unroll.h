#pragma once

/// Before a loop of at most 16 turns whose index picks registers.
#if defined(__clang__)
#define MLXN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MLXN_UNROLL _Pragma("GCC unroll 16")
#endif
