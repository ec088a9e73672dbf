#include "conformance/cache.h"

namespace mlx_native::conformance {
namespace {

class OpKvCacheWrite : public OnBackend {};
MLXN_ON_BACKENDS(OpKvCacheWrite);

TEST_P(OpKvCacheWrite, WritesTheSlotsOfTheRingAndNothingElse) {
  for_each_kernel(Op::KvCacheWrite, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const bool f16 : {false, true})
      for (const auto& [n_tokens, heads, dim, capacity, first] : {std::tuple{1u, 1u, 1u, 1u, 7u},
                                                                  {1, 8, 128, 40, 39},
                                                                  {5, 3, 80, 8, 6},
                                                                  {8, 2, 5, 8, 1'000'003},
                                                                  {33, 2, 64, 100, 0},
                                                                  {3, 1, 7, 3, 4'294'967'292u}})
        for (const MlxDevice& device : devices_of(GetParam())) {
          SCOPED_TRACE(testing::Message() << n_tokens << " tokens from " << first << " into " << capacity);
          Random random(n_tokens);
          auto x = random.values(std::size_t{n_tokens} * heads * dim, Data::Outliers);
          // Halfway between two halves, above and below the largest, and subnormal: rounding to nearest even.
          const float special[] = {1.00048828125f, 1.00146484375f, 65519.0f, 65520.0f, -1e6f, 3e-8f, 5.9e-8f, -0.0f};
          std::copy_n(special, std::min<std::size_t>(8, x.size()), x.begin());
          auto want = random.values(std::size_t{heads} * capacity * dim);
          Guarded<float> input(device, x, 8);
          const auto positions = positions_from(first, n_tokens);
          Guarded<std::uint32_t> where(device, positions, 4);
          Cache cache(device, want, f16);
          CommandEncoder encoder = device.command_encoder().value();
          expect_ok(
              kv_cache_write(encoder, registry, device, input.view(), where.view(), cache.view(),
                             {.n_tokens = n_tokens, .n_kv_heads = heads, .head_dim = dim, .kv_capacity = capacity}));
          expect_ok(encoder.commit_and_wait());
          reference::kv_cache_write(x, positions, want, heads, capacity, dim);
          (void)cache_bytes(want, f16);
          ASSERT_TRUE(same_bits(cache.read(), want)) << (f16 ? "f16" : "f32");
          cache.expect_guards_intact();
        }
  });
}

}  // namespace
}  // namespace mlx_native::conformance
