#include "runtime/fusion.h"

#include "args/attention.h"
#include "args/fused.h"
#include "args/moe.h"
#include "args/norm.h"
#include "core/error.h"
#include "runtime/fuse_products.h"
#include "runtime/fusion_rules.h"

namespace mlx_native::detail {

namespace {

/// The commands that make the heads of some tokens: queries and keys are normalised, where a model has such norms, and
/// rotated, and keys and values go to the cache.
struct Heads {
  std::optional<RmsNormArgs> query_norm, key_norm;
  RopeArgs query, key;
  KvCacheWriteArgs keys, values;

  const float* query_from() const { return query_norm ? query_norm->input : query.input; }
  const float* key_from() const { return key_norm ? key_norm->input : key.input; }
};

std::optional<Heads> take_heads(Reader& commands) {
  const auto query_norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  const auto query = commands.take<RopeArgs>(Op::Rope);
  const auto key_norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  const auto key = commands.take<RopeArgs>(Op::Rope);
  const auto keys = commands.take<KvCacheWriteArgs>(Op::KvCacheWrite);
  const auto values = commands.take<KvCacheWriteArgs>(Op::KvCacheWrite);
  if (!query || !key || !keys || !values) return {};
  return Heads{query_norm, key_norm, *query, *key, *keys, *values};
}

/// Whether all of them are of the same tokens and heads, and each takes up what the one before it left.
bool fit_together(const Heads& heads) {
  const RopeArgs &q = heads.query, &k = heads.key;
  const KvCacheWriteArgs& keys = heads.keys;
  // A norm leaves its result where RoPE, in place, leaves its own.
  const auto normed = [](const std::optional<RmsNormArgs>& norm, const RopeArgs& rope) {
    return !norm || (norm->output == rope.input && rope.output == rope.input && norm->dim == rope.head_dim &&
                     norm->rows == std::uint64_t{rope.n_tokens} * rope.n_heads);
  };
  const auto written = [&](const KvCacheWriteArgs& write) {
    return write.positions == q.positions && write.n_tokens == q.n_tokens && write.n_kv_heads == k.n_heads &&
           write.head_dim == q.head_dim && write.kv_capacity == keys.kv_capacity && write.f16 == keys.f16;
  };
  const bool same_rope = q.positions == k.positions && q.freq_factors == k.freq_factors && q.n_tokens == k.n_tokens &&
                         q.head_dim == k.head_dim && q.rope_dim == k.rope_dim && q.adjacent == k.adjacent &&
                         q.pair_split == k.pair_split && q.theta == k.theta && q.freq_scale == k.freq_scale;
  const bool same_eps = !heads.query_norm || !heads.key_norm || heads.query_norm->eps == heads.key_norm->eps;
  return same_rope && same_eps && normed(heads.query_norm, q) && normed(heads.key_norm, k) && keys.input == k.output &&
         written(keys) && written(heads.values);
}

/// Whether what they write shares no bytes with the rest, but for heads that are rotated in place.
bool written_apart(const Heads& heads) {
  const auto& [query_norm, key_norm, q, k, keys, values] = heads;
  const std::uint64_t dim = q.head_dim, tokens = q.n_tokens;
  const std::uint64_t cache_bytes = std::uint64_t{keys.n_kv_heads} * keys.kv_capacity * dim * (keys.f16 ? 2 : 4);
  const Bytes written[] = {floats(q.output, tokens * q.n_heads, dim),
                           floats(k.output, tokens * k.n_heads, dim),
                           {keys.cache, cache_bytes},
                           {values.cache, cache_bytes}};
  const Bytes read[] = {floats(heads.query_from(), heads.query_from() == q.output ? 0 : tokens * q.n_heads, dim),
                        floats(heads.key_from(), heads.key_from() == k.output ? 0 : tokens * k.n_heads, dim),
                        floats(values.input, tokens * k.n_heads, dim),
                        floats(q.freq_factors, q.freq_factors ? q.rope_dim / 2 : 0),
                        {q.positions, tokens * sizeof(std::uint32_t)},
                        floats(query_norm ? query_norm->weight : nullptr, query_norm ? dim : 0),
                        floats(key_norm ? key_norm->weight : nullptr, key_norm ? dim : 0)};
  return apart(written, read);
}

std::optional<HeadsToCacheArgs> heads_to_cache(Reader& commands) {
  const auto heads = take_heads(commands);
  if (!heads || !fit_together(*heads) || !written_apart(*heads)) return {};
  const auto& [query_norm, key_norm, q, k, keys, values] = *heads;
  return HeadsToCacheArgs{.query_from = heads->query_from(),
                          .key_from = heads->key_from(),
                          .query = q.output,
                          .key = k.output,
                          .value = values.input,
                          .query_norm = query_norm ? query_norm->weight : nullptr,
                          .key_norm = key_norm ? key_norm->weight : nullptr,
                          .positions = q.positions,
                          .freq_factors = q.freq_factors,
                          .k_cache = keys.cache,
                          .v_cache = values.cache,
                          .f16 = keys.f16,
                          .n_tokens = q.n_tokens,
                          .n_heads = q.n_heads,
                          .n_kv_heads = k.n_heads,
                          .head_dim = q.head_dim,
                          .kv_capacity = keys.kv_capacity,
                          .rope_dim = q.rope_dim,
                          .adjacent = q.adjacent,
                          .pair_split = q.pair_split,
                          .theta = q.theta,
                          .freq_scale = q.freq_scale,
                          .eps = query_norm ? query_norm->eps
                                 : key_norm ? key_norm->eps
                                            : 0.0f};
}

/// `heads` and the attention of their one token behind them, where no group overwrites what another one reads.
std::optional<HeadsAttentionArgs> heads_attention(Reader& commands, const HeadsToCacheArgs& heads,
                                                  const Kernel* fused) {
  const auto a = commands.take_alone<AttentionArgs>(Op::Attention, fused);
  if (!a || heads.query_from == heads.query || heads.key_from == heads.key) return {};
  if (a->query != heads.query || a->k_cache != heads.k_cache || a->v_cache != heads.v_cache ||
      a->positions != heads.positions || a->f16 != heads.f16 || a->n_tokens != 1 || heads.n_tokens != 1 ||
      a->n_heads != heads.n_heads || a->n_kv_heads != heads.n_kv_heads || a->head_dim != heads.head_dim ||
      a->kv_capacity != heads.kv_capacity)
    return {};
  const std::uint64_t dim = a->head_dim;
  const Bytes output = floats(a->output, a->n_heads, dim);
  const Bytes read[] = {floats(heads.query_from, a->n_heads, dim),
                        floats(heads.key_from, a->n_kv_heads, dim),
                        floats(heads.value, a->n_kv_heads, dim),
                        floats(heads.query, a->n_heads, dim),
                        floats(heads.key, a->n_kv_heads, dim),
                        floats(heads.query_norm, heads.query_norm ? dim : 0),
                        floats(heads.key_norm, heads.key_norm ? dim : 0),
                        floats(heads.freq_factors, heads.freq_factors ? heads.rope_dim / 2 : 0),
                        {heads.positions, sizeof(std::uint32_t)}};
  if (!apart({&output, 1}, read)) return {};
  return HeadsAttentionArgs{.heads = heads,
                            .output = a->output,
                            .scratch = a->scratch,
                            .causal = a->causal,
                            .sliding_window = a->sliding_window,
                            .scale = a->scale,
                            .softcap = a->softcap,
                            .likely_keys = a->likely_keys};
}

std::optional<AddNormArgs> add_norm(Reader& commands) {
  const auto add = commands.take<BinaryArgs>(Op::Add);
  const auto norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  if (!add || !norm) return {};
  const std::uint64_t rows = add->rows, dim = add->cols;
  if (add->b_rows != add->rows || norm->input != add->output || norm->rows != rows || norm->dim != dim) return {};
  // a and b may be where the sum goes to: each value is read before it is written. But nothing else.
  const Bytes a = floats(add->a, rows, dim), b = floats(add->b, rows, dim), sum = floats(add->output, rows, dim);
  if ((add->a != add->output && a.overlaps(sum)) || (add->b != add->output && b.overlaps(sum))) return {};
  const Bytes weight = floats(norm->weight, dim), output = floats(norm->output, rows, dim);
  const Bytes read[] = {a, b, weight};
  if (sum.overlaps(output) || sum.overlaps(weight) || !apart({&output, 1}, read)) return {};
  return AddNormArgs{.a = add->a,
                     .b = add->b,
                     .sum = add->output,
                     .weight = norm->weight,
                     .output = norm->output,
                     .rows = add->rows,
                     .dim = add->cols,
                     .eps = norm->eps};
}

std::optional<MoeReduceAddArgs> moe_reduce_add(Reader& commands) {
  const auto reduce = commands.take<MoeWeightedReduceArgs>(Op::MoeWeightedReduce);
  const auto add = commands.take<BinaryArgs>(Op::Add);
  if (!reduce || !add) return {};
  const std::uint64_t rows = reduce->n_tokens, dim = reduce->dim, slots = rows * reduce->top_k;
  const float* const residual = other_term(*add, reduce->output);
  if (add->rows != rows || add->cols != dim || !residual) return {};
  const Bytes written[] = {floats(reduce->output, rows, dim), floats(add->output, rows, dim)};
  std::vector<Bytes> read = {floats(reduce->experts, slots, dim), floats(reduce->weights, slots)};
  if (residual != add->output) read.push_back(floats(residual, rows, dim));
  if (!apart(written, read)) return {};
  return MoeReduceAddArgs{.reduce = *reduce, .residual = residual, .sum = add->output};
}

template <class Args>
Fused fuse_by(Backend backend, Op op, const std::optional<Args>& args, std::span<const Command> replaced) {
  return args ? one_for_all(RegistryAccess::first(backend, op), *args, replaced) : Fused{};
}

Fused fuse_first(Backend backend, std::span<const Command> commands) {
  Reader heads(backend, commands), experts(backend, commands), sums(backend, commands);
  const auto to_cache = heads_to_cache(heads);
  if (to_cache) {
    Reader attended = heads;
    const auto args = heads_attention(attended, *to_cache, RegistryAccess::first(backend, Op::HeadsAttention).get());
    if (auto fused = fuse_by(backend, Op::HeadsAttention, args, commands.first(attended.taken())); fused.replaced)
      return fused;
  }
  if (auto fused = fuse_by(backend, Op::HeadsToCache, to_cache, commands.first(heads.taken())); fused.replaced)
    return fused;
  if (auto fused = fuse_products(backend, commands); fused.replaced) return fused;
  const auto reduced = moe_reduce_add(experts);
  if (reduced && !norm_stays(experts, backend, reduced->sum))
    return fuse_by(backend, Op::MoeReduceAdd, reduced, commands.first(experts.taken()));
  const auto normed = add_norm(sums);
  return fuse_by(backend, Op::AddNorm, normed, commands.first(sums.taken()));
}

}  // namespace

Result<std::vector<Command>> fuse(Device& device, std::vector<Command> commands) {
  const Backend backend = device.backend();
  if (!RegistryAccess::first(backend, Op::HeadsToCache) && !RegistryAccess::first(backend, Op::AddNorm))
    return commands;
  std::vector<Command> all;
  for (std::size_t i = 0; i < commands.size();) {
    Fused fused = fuse_first(backend, std::span(commands).subspan(i));
    if (fused.replaced == 0) {
      all.push_back(std::move(commands[i++]));
      continue;
    }
    for (Command& command : fused.by) {
      MLXN_TRY(device.prepare_kernel(*command.kernel));
      all.push_back(std::move(command));
    }
    i += fused.replaced;
  }
  // Barriers that replaced commands asked for are in another place now.
  HazardTracker hazards;
  for (Command& command : all) command.barrier |= hazards.add(command.uses);
  return all;
}

}  // namespace mlx_native::detail
