#include "mlx_native/ops/attention.h"

#include <algorithm>

#include "args/attention.h"
#include "ops/call.h"

namespace mlx_native {

Result<void> attention(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                       const MlxBuffer& query, const MlxBuffer& k_cache, const MlxBuffer& v_cache,
                       const MlxBuffer& positions, MlxBuffer& output, const AttentionParams& params) {
  const auto [n_tokens, n_heads, n_kv_heads, head_dim, kv_capacity, scale, causal, sliding_window, softcap,
              likely_keys] = params;
  const DType dtype = k_cache.dtype();
  const bool f16 = dtype == DType::F16;
  ops::Call call("attention", encoder, registry, device);
  call.extents({{"n_tokens", n_tokens},
                {"n_heads", n_heads},
                {"n_kv_heads", n_kv_heads},
                {"head_dim", head_dim},
                {"kv_capacity", kv_capacity}});
  call.require(n_kv_heads != 0 && n_heads % n_kv_heads == 0, "n_heads is {}, it must be a multiple of n_kv_heads {}",
               n_heads, n_kv_heads);
  call.finite("scale", scale);
  call.not_negative("softcap", softcap);
  call.require(f16 || dtype == DType::F32, "k_cache is {}, it must be f32 or f16", dtype_name(dtype));
  const auto* const q = call.read<float>("query", query, {n_tokens, n_heads, head_dim});
  const auto* const k = call.read<std::uint8_t>("k_cache", k_cache, {n_kv_heads, kv_capacity, head_dim}, dtype);
  const auto* const v = call.read<std::uint8_t>("v_cache", v_cache, {n_kv_heads, kv_capacity, head_dim}, dtype);
  const auto* const p = call.read_positions(positions, n_tokens);
  auto* const y = call.write<float>("output", output, {n_tokens, n_heads, head_dim});
  const std::uint32_t keys = likely_keys == 0 ? kv_capacity : std::min(likely_keys, kv_capacity);
  return call.encode(ops::Op::Attention,
                     AttentionArgs{q, k, v, p, y, nullptr, f16, n_tokens, n_heads, n_kv_heads, head_dim, kv_capacity,
                                   causal, sliding_window, scale, softcap, keys});
}

}  // namespace mlx_native
