#include "mlx_native/ops/moe.h"

#include "args/moe.h"
#include "ops/call.h"

namespace mlx_native {

Result<void> moe_softmax_topk(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                              const MlxBuffer& logits, MlxBuffer& ids, MlxBuffer& weights,
                              const MoeSoftmaxTopkParams& params) {
  const auto [n_tokens, n_experts, top_k, renormalize] = params;
  ops::Call call("moe_softmax_topk", encoder, registry, device);
  call.extents({{"n_tokens", n_tokens}, {"n_experts", n_experts}, {"top_k", top_k}});
  call.require(top_k <= n_experts, "top_k is {}, it must be at most n_experts {}", top_k, n_experts);
  const auto* const x = call.read<float>("logits", logits, {n_tokens, n_experts});
  auto* const e = call.write<std::uint32_t>("ids", ids, {n_tokens, top_k});
  auto* const w = call.write<float>("weights", weights, {n_tokens, top_k});
  return call.encode(ops::Op::MoeSoftmaxTopk, MoeSoftmaxTopkArgs{x, e, w, n_tokens, n_experts, top_k, renormalize});
}

Result<void> moe_weighted_reduce(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                 const MlxBuffer& experts, const MlxBuffer& weights, MlxBuffer& output,
                                 const MoeWeightedReduceParams& params) {
  const auto [n_tokens, top_k, dim] = params;
  ops::Call call("moe_weighted_reduce", encoder, registry, device);
  call.extents({{"n_tokens", n_tokens}, {"top_k", top_k}, {"dim", dim}});
  const auto* const x = call.read<float>("experts", experts, {n_tokens, top_k, dim});
  const auto* const w = call.read<float>("weights", weights, {n_tokens, top_k});
  auto* const y = call.write<float>("output", output, {n_tokens, dim});
  return call.encode(ops::Op::MoeWeightedReduce, MoeWeightedReduceArgs{x, w, y, n_tokens, top_k, dim});
}

}  // namespace mlx_native
