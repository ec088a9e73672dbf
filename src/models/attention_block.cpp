#include "models/attention_block.h"

#include <cmath>

#include "core/error.h"
#include "mlx_native/ops/attention.h"
#include "mlx_native/ops/kv_cache.h"

namespace mlx_native {

Result<AttentionBlock> AttentionBlock::load(WeightLoader& weights, const ModelConfig& config, std::uint32_t layer,
                                            AttentionStyle style) {
  const auto name = [&](std::string_view part) { return fmt::format("blk.{}.{}", layer, part); };
  const std::uint64_t q_width = std::uint64_t{config.n_heads} * config.head_dim;
  const std::uint64_t kv_width = std::uint64_t{config.n_kv_heads} * config.head_dim;
  MLXN_ASSIGN(MlxBuffer norm, weights.vector(name("attn_norm.weight"), config.dim));
  MLXN_ASSIGN(Linear query, weights.linear(name("attn_q"), q_width, config.dim));
  MLXN_ASSIGN(Linear key, weights.linear(name("attn_k"), kv_width, config.dim));
  MLXN_ASSIGN(Linear value, weights.linear(name("attn_v"), kv_width, config.dim));
  MLXN_ASSIGN(Linear output, weights.linear(name("attn_output"), config.dim, q_width));
  Weights loaded{std::move(norm), std::move(query), std::move(key), std::move(value), std::move(output), {}, {}};
  if (style.head_norms) {
    MLXN_ASSIGN(loaded.query_norm, weights.vector(name("attn_q_norm.weight"), config.head_dim));
    MLXN_ASSIGN(loaded.key_norm, weights.vector(name("attn_k_norm.weight"), config.head_dim));
  }
  return AttentionBlock(std::move(loaded), layer, std::move(style));
}

Result<void> AttentionBlock::record(Pass& pass) const {
  const ModelConfig& config = pass.config;
  Activations& act = pass.act;
  KvCache& cache = pass.kv[layer_];
  MLXN_TRY(pass.norm(weights_.norm, act.hidden, act.normed, pass.n_tokens, config.dim));
  MLXN_TRY(pass.linear(weights_.query, act.normed, act.query, pass.n_tokens));
  MLXN_TRY(pass.linear(weights_.key, act.normed, act.key, pass.n_tokens));
  MLXN_TRY(pass.linear(weights_.value, act.normed, act.value, pass.n_tokens));
  MLXN_TRY(norm_and_rotate(pass, weights_.query_norm, act.query, act.rotated_query, config.n_heads));
  MLXN_TRY(norm_and_rotate(pass, weights_.key_norm, act.key, act.rotated_key, config.n_kv_heads));
  MLXN_TRY(remember(pass, act.rotated_key, cache.keys));
  MLXN_TRY(remember(pass, act.value, cache.values));
  MLXN_TRY(attention(pass.encoder, pass.registry, pass.device, act.rotated_query, cache.keys, cache.values,
                     act.positions, act.attended,
                     {.n_tokens = pass.n_tokens,
                      .n_heads = config.n_heads,
                      .n_kv_heads = config.n_kv_heads,
                      .head_dim = config.head_dim,
                      .kv_capacity = pass.context,
                      .scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim)),
                      .likely_keys = pass.likely_keys}));
  MLXN_TRY(pass.linear(weights_.output, act.attended, act.branch, pass.n_tokens));
  return pass.add_branch();
}

Result<void> AttentionBlock::norm_and_rotate(const Pass& pass, const std::optional<MlxBuffer>& norm,
                                             const MlxBuffer& heads, MlxBuffer& rotated, std::uint32_t n_heads) const {
  const ModelConfig& config = pass.config;
  if (norm) MLXN_TRY(pass.norm(*norm, heads, rotated, pass.n_tokens * n_heads, config.head_dim));
  return rope(pass.encoder, pass.registry, pass.device, norm ? rotated : heads, pass.act.positions,
              style_.freq_factors ? &*style_.freq_factors : nullptr, rotated,
              {.n_tokens = pass.n_tokens,
               .n_heads = n_heads,
               .head_dim = config.head_dim,
               .rope_dim = config.rope_dim,
               .theta = config.rope_theta,
               .pairing = style_.pairing,
               .freq_scale = config.rope_freq_scale});
}

Result<void> AttentionBlock::remember(const Pass& pass, const MlxBuffer& heads, MlxBuffer& cache) const {
  return kv_cache_write(pass.encoder, pass.registry, pass.device, heads, pass.act.positions, cache,
                        {.n_tokens = pass.n_tokens,
                         .n_kv_heads = pass.config.n_kv_heads,
                         .head_dim = pass.config.head_dim,
                         .kv_capacity = pass.context});
}

}  // namespace mlx_native
