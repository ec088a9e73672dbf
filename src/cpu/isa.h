// What is compiled once per ISA (everything in cpu/generic), as the rest of the backend sees it. No standard container
// crosses this border: an inline function of the standard library, compiled for one ISA, could be linked into the code
// of another.
#pragma once

#include <cstddef>

#include "core/dialect.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/ops/precision.h"
#include "runtime/op.h"

// The ISAs that a build for this machine has, from the best to the one that runs everywhere. CMakeLists.txt gives their
// flags and CpuFeatures says which of them the processor has. Its option MLXN_CPU_ISAS defines a shorter list.
#if defined(MLXN_ISAS)
#elif defined(__x86_64__)
#define MLXN_ISAS(MLXN_EACH) \
  MLXN_EACH(amx) MLXN_EACH(avx512_bf16) MLXN_EACH(avx512) MLXN_EACH(avx_vnni) MLXN_EACH(avx2) MLXN_EACH(portable)
#elif defined(__aarch64__)
#define MLXN_ISAS(MLXN_EACH) MLXN_EACH(neon_dotprod) MLXN_EACH(neon) MLXN_EACH(portable)
#else
#define MLXN_ISAS(MLXN_EACH) MLXN_EACH(portable)
#endif

namespace mlx_native::cpu {

struct KernelRow {
  detail::Op op;
  const char* format;  ///< ggml's name; null: the op has none
  GgmlType type;       ///< of that format
  detail::KernelEntry entry;
  std::size_t (*scratch_bytes)(const void* args) = nullptr;  ///< null: none
  const char* variant = "";                                  ///< ends the op's name
  bool (*supports)(const void* args) = nullptr;              ///< null: every valid problem
  Precision accuracy = Precision::Full;
  bool (*brief)(const void* args) = nullptr;  ///< null: never; see detail::Kernel
};

/// Whether streams are prefetched into L2 alone. On Zen 4 lines on their way into L1 take the buffers that loads of x
/// need: with four loads from L1 beside each two lines, a loop over one stream reads 12 GB/s with prefetches into L1
/// and 20 GB/s with those into L2. Set before kernels are listed.
extern bool streams_into_l2;

/// Takes the rows of an ISA one by one.
struct RowSink {
  void (*add)(void* to, const KernelRow& row);
  void* to;
};

/// One instruction set.
struct Isa {
  const char* name;
  bool (*available)();
  void (*add_rows)(const RowSink& sink);
};

#define MLXN_ISA_ROWS(isa)            \
  namespace isa {                     \
  void add_rows(const RowSink& sink); \
  }
MLXN_ISAS(MLXN_ISA_ROWS)
#undef MLXN_ISA_ROWS

}  // namespace mlx_native::cpu
