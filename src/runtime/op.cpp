#include "runtime/op.h"

namespace mlx_native::detail {

std::string_view op_name(Op op) {
  switch (op) {
    case Op::MatVec: return "mat_vec";
    case Op::MatMat: return "mat_mat";
    case Op::MatVecId: return "mat_vec_id";
    case Op::MatMatId: return "mat_mat_id";
    case Op::EmbeddingGather: return "embedding_gather";
    case Op::Dequantize: return "dequantize";
    case Op::RmsNorm: return "rms_norm";
    case Op::Rope: return "rope";
    case Op::KvCacheWrite: return "kv_cache_write";
    case Op::Attention: return "attention";
    case Op::Add: return "add";
    case Op::Mul: return "mul";
    case Op::SiluMul: return "silu_mul";
    case Op::Gelu: return "gelu";
    case Op::MoeSoftmaxTopk: return "moe_softmax_topk";
    case Op::MoeWeightedReduce: return "moe_weighted_reduce";
    case Op::Argmax: return "argmax";
    case Op::Sample: return "sample";
    case Op::Checksum: return "checksum";
    case Op::HeadsToCache: return "heads_to_cache";
    case Op::HeadsAttention: return "heads_attention";
    case Op::AddNorm: return "add_norm";
    case Op::MoeReduceAdd: return "moe_reduce_add";
    case Op::Router: return "router";
    case Op::FusedMatVec: return "fused_mat_vec";
    case Op::FusedMatVecId: return "fused_mat_vec_id";
    case Op::User: return "user";
  }
  return "unknown";
}

}  // namespace mlx_native::detail
