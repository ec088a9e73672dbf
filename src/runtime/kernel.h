// A row of a backend's kernel table.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::detail {

/// What kernels are chosen by. Each has one struct of arguments in src/args.
enum class Op {
  MatVec,             // MatmulArgs
  MatMat,             // MatmulArgs
  MatVecId,           // MatmulIdArgs
  MatMatId,           // MatmulIdArgs
  EmbeddingGather,    // EmbeddingArgs
  Dequantize,         // DequantizeArgs
  RmsNorm,            // RmsNormArgs
  Rope,               // RopeArgs
  KvCacheWrite,       // KvCacheWriteArgs
  Attention,          // AttentionArgs
  Add,                // BinaryArgs
  Mul,                // BinaryArgs
  SiluMul,            // SiluMulArgs
  Gelu,               // GeluArgs
  MoeSoftmaxTopk,     // MoeSoftmaxTopkArgs
  MoeWeightedReduce,  // MoeWeightedReduceArgs
  Argmax,             // ArgmaxArgs
  Sample,             // SampleArgs
  User,
};

/// "mat_vec", "rms_norm".
std::string_view op_name(Op op);

/// Runs or launches a kernel: `args` is the op's struct, `where` the backend's own context (cpu::Team, cuda::Launch,
/// ...).
using KernelEntry = void (*)(const void* args, void* where);

struct Kernel {
  std::string name;
  Backend backend;
  Op op;
  std::optional<GgmlType> format;        ///< nullopt: the op has none
  Precision accuracy = Precision::Full;  ///< the bound that it keeps
  KernelEntry entry = nullptr;
  bool (*supports)(const void* args) = nullptr;                                     ///< null: every valid problem
  std::size_t (*scratch_bytes)(const void* args) = nullptr;                         ///< null: none
  std::function<void(const KernelContext&, std::span<const std::byte>)> user = {};  ///< instead of entry, for Op::User
};

/// All built-in kernels that this machine can run, in order of preference within each op and format. Made once.
std::span<const std::shared_ptr<const Kernel>> builtin_kernels();

}  // namespace mlx_native::detail
