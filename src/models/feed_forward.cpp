#include "models/feed_forward.h"

#include "core/error.h"
#include "mlx_native/ops/elementwise.h"
#include "mlx_native/ops/matmul.h"
#include "mlx_native/ops/moe.h"

namespace mlx_native {

Result<SwiGlu> SwiGlu::load(WeightLoader& weights, const ModelConfig& config, std::uint32_t layer) {
  const auto name = [&](std::string_view part) { return fmt::format("blk.{}.{}", layer, part); };
  MLXN_ASSIGN(MlxBuffer norm, weights.vector(name("ffn_norm.weight"), config.dim));
  MLXN_ASSIGN(Linear gate, weights.linear(name("ffn_gate"), config.ffn_dim, config.dim));
  MLXN_ASSIGN(Linear up, weights.linear(name("ffn_up"), config.ffn_dim, config.dim));
  MLXN_ASSIGN(Linear down, weights.linear(name("ffn_down"), config.dim, config.ffn_dim));
  return SwiGlu(std::move(norm), std::move(gate), std::move(up), std::move(down));
}

Result<void> SwiGlu::record(Pass& pass) const {
  Activations& act = pass.act;
  MLXN_TRY(pass.norm(norm_, act.hidden, act.normed, pass.n_tokens, pass.config.dim));
  MLXN_TRY(pass.linear(gate_, act.normed, act.gate, pass.n_tokens));
  MLXN_TRY(pass.linear(up_, act.normed, act.up, pass.n_tokens));
  MLXN_TRY(silu_mul(pass.encoder, pass.registry, pass.device, act.gate, act.up, act.gate,
                    {.n = std::uint64_t{pass.n_tokens} * pass.config.ffn_dim}));
  MLXN_TRY(pass.linear(down_, act.gate, act.branch, pass.n_tokens));
  return pass.add_branch();
}

Result<MixtureOfExperts> MixtureOfExperts::load(WeightLoader& weights, const ModelConfig& config, std::uint32_t layer) {
  const auto name = [&](std::string_view part) { return fmt::format("blk.{}.{}", layer, part); };
  MLXN_ASSIGN(MlxBuffer norm, weights.vector(name("ffn_norm.weight"), config.dim));
  MLXN_ASSIGN(Linear router, weights.linear(name("ffn_gate_inp"), config.n_experts, config.dim));
  MLXN_ASSIGN(ExpertLinear gate, weights.experts(name("ffn_gate_exps"), config.n_experts, config.ffn_dim, config.dim));
  MLXN_ASSIGN(ExpertLinear up, weights.experts(name("ffn_up_exps"), config.n_experts, config.ffn_dim, config.dim));
  MLXN_ASSIGN(ExpertLinear down, weights.experts(name("ffn_down_exps"), config.n_experts, config.dim, config.ffn_dim));
  return MixtureOfExperts(std::move(norm), std::move(router), std::move(gate), std::move(up), std::move(down));
}

Result<void> MixtureOfExperts::record(Pass& pass) const {
  const ModelConfig& config = pass.config;
  Activations& act = pass.act;
  Activations::Routing& routing = *act.routing;
  const std::uint32_t n = pass.n_tokens, used = config.n_experts_used;
  /// Rows of `input`, each to `per_row` experts.
  const auto expert_linear = [&](const ExpertLinear& layer, const MlxBuffer& input, MlxBuffer& output,
                                 std::uint32_t rows, std::uint32_t per_row) {
    return quantized_matmul_id_ggml(pass.encoder, pass.registry, pass.device, input, layer.weight, routing.ids, output,
                                    {.n_tokens = rows,
                                     .top_k = per_row,
                                     .n = layer.n,
                                     .k = layer.k,
                                     .n_experts = layer.n_experts,
                                     .expert_stride = layer.expert_stride,
                                     .ggml_type = layer.type,
                                     .precision = pass.precision});
  };
  MLXN_TRY(pass.norm(norm_, act.hidden, act.normed, n, config.dim));
  MLXN_TRY(pass.linear(router_, act.normed, routing.logits, n));
  MLXN_TRY(moe_softmax_topk(
      pass.encoder, pass.registry, pass.device, routing.logits, routing.ids, routing.weights,
      {.n_tokens = n, .n_experts = config.n_experts, .top_k = used, .renormalize = config.renormalize_experts}));
  MLXN_TRY(expert_linear(gate_, act.normed, act.gate, n, used));
  MLXN_TRY(expert_linear(up_, act.normed, act.up, n, used));
  MLXN_TRY(silu_mul(pass.encoder, pass.registry, pass.device, act.gate, act.up, act.gate,
                    {.n = std::uint64_t{n} * used * config.ffn_dim}));
  MLXN_TRY(expert_linear(down_, act.gate, routing.outputs, n * used, 1));
  MLXN_TRY(moe_weighted_reduce(pass.encoder, pass.registry, pass.device, routing.outputs, routing.weights, act.branch,
                               {.n_tokens = n, .top_k = used, .dim = config.dim}));
  return pass.add_branch();
}

}  // namespace mlx_native
