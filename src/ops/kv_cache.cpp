#include "mlx_native/ops/kv_cache.h"

#include "args/attention.h"
#include "ops/call.h"

namespace mlx_native {

Result<void> kv_cache_write(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                            const MlxBuffer& input, const MlxBuffer& positions, MlxBuffer& cache,
                            const KvCacheWriteParams& params) {
  const auto [n_tokens, n_kv_heads, head_dim, kv_capacity] = params;
  const bool f16 = cache.dtype() == DType::F16;
  ops::Call call("kv_cache_write", encoder, registry, device);
  call.extents({{"n_tokens", n_tokens}, {"n_kv_heads", n_kv_heads}, {"head_dim", head_dim}});
  call.require(kv_capacity >= n_tokens, "kv_capacity is {}, it must hold the {} tokens", kv_capacity, n_tokens);
  call.require(f16 || cache.dtype() == DType::F32, "cache is {}, it must be f32 or f16", dtype_name(cache.dtype()));
  const auto* const x = call.read<float>("input", input, {n_tokens, n_kv_heads, head_dim});
  const auto* const p = call.read_positions(positions, n_tokens);
  auto* const c = call.write<std::uint8_t>("cache", cache, {n_kv_heads, kv_capacity, head_dim}, {}, cache.dtype());
  return call.encode(ops::Op::KvCacheWrite,
                     KvCacheWriteArgs{x, p, c, f16, n_tokens, n_kv_heads, head_dim, kv_capacity});
}

}  // namespace mlx_native
