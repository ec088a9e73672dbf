#pragma once

#include <string_view>

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
  Checksum,           // ChecksumArgs
  HeadsToCache,       // HeadsToCacheArgs; this and those up to User made by fusion alone
  HeadsAttention,     // HeadsAttentionArgs
  AddNorm,            // AddNormArgs
  MoeReduceAdd,       // MoeReduceAddArgs
  Router,             // RouterArgs
  FusedMatVec,        // FusedMatmulArgs
  FusedMatVecId,      // FusedMatmulIdArgs
  User,
};

/// "mat_vec", "rms_norm".
std::string_view op_name(Op op);

/// Runs or launches a kernel: `args` is the op's struct, `where` the backend's own context (cpu::Team, cuda::Launch,
/// ...).
using KernelEntry = void (*)(const void* args, void* where);

}  // namespace mlx_native::detail
