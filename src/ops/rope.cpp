#include "mlx_native/ops/rope.h"

#include "args/attention.h"
#include "ops/call.h"

namespace mlx_native {

Result<void> rope(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                  const MlxBuffer& input, const MlxBuffer& positions, const MlxBuffer* freq_factors, MlxBuffer& output,
                  const RopeParams& params) {
  const auto [n_tokens, n_heads, head_dim, rope_dim, theta, pairing, pair_split, freq_scale] = params;
  const std::uint32_t pairs = rope_dim / 2;
  const bool adjacent = pairing == RopePairing::Adjacent;
  const std::uint32_t split = adjacent ? 1 : pair_split ? pair_split : pairs;
  ops::Call call("rope", encoder, registry, device);
  call.extents({{"n_tokens", n_tokens}, {"n_heads", n_heads}, {"head_dim", head_dim}, {"rope_dim", rope_dim}});
  call.require(rope_dim % 2 == 0 && rope_dim <= head_dim, "rope_dim is {}, it must be even and at most head_dim {}",
               rope_dim, head_dim);
  call.require(adjacent || pairing == RopePairing::Neox, "pairing is {}, which is none", static_cast<int>(pairing));
  call.require(!adjacent || pair_split == 0, "pair_split is {}, adjacent pairs have none", pair_split);
  call.require(adjacent || (split >= pairs && split <= head_dim - pairs),
               "pair_split is {}, {} pairs in a head of {} need {} to {}", split, pairs, head_dim, pairs,
               std::uint64_t{head_dim} - pairs);
  call.positive("theta", theta);
  call.positive("freq_scale", freq_scale);
  const auto* const x = call.read<float>("input", input, {n_tokens, n_heads, head_dim});
  const auto* const p = call.read<std::uint32_t>("positions", positions, {n_tokens});
  const auto* const f = freq_factors ? call.read<float>("freq_factors", *freq_factors, {pairs}) : nullptr;
  auto* const y = call.write<float>("output", output, {n_tokens, n_heads, head_dim}, {"input"});
  return call.encode(ops::Op::Rope,
                     RopeArgs{x, p, f, y, n_tokens, n_heads, head_dim, rope_dim, adjacent, split, theta, freq_scale});
}

}  // namespace mlx_native
