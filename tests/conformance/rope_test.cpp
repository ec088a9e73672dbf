#include "conformance/conformance.h"
#include "reference/attention.h"

namespace mlx_native::conformance {
namespace {

class OpRope : public OnBackend {
 protected:
  void expect_rotated(const KernelRegistry& registry, const RopeParams& p, std::span<const std::uint32_t> positions,
                      std::span<const float> factors = {}) const {
    const bool adjacent = p.pairing == RopePairing::Adjacent;
    const std::uint32_t split = adjacent ? 1 : p.pair_split ? p.pair_split : p.rope_dim / 2;
    SCOPED_TRACE(testing::Message() << p.n_tokens << " tokens, " << p.n_heads << " heads of " << p.head_dim << ", rope "
                                    << p.rope_dim << ", split " << split << ", from position " << positions[0]);
    const auto x = Random(p.head_dim).values(std::size_t{p.n_tokens} * p.n_heads * p.head_dim, Data::Outliers);
    const auto want = reference::rope(x, positions, factors,
                                      {.n_heads = p.n_heads,
                                       .head_dim = p.head_dim,
                                       .rope_dim = p.rope_dim,
                                       .adjacent = adjacent,
                                       .pair_split = split,
                                       .theta = double{p.theta},
                                       .freq_scale = double{p.freq_scale}});
    std::vector<float> first;
    for (const MlxDevice& device : devices_of(GetParam())) {
      Guarded<float> input(device, x, 4), output(device, x.size(), 8);
      Guarded<std::uint32_t> where(device, positions, 4);
      std::optional<Guarded<float>> scale;
      if (!factors.empty()) scale.emplace(device, factors, 4);
      const MlxBuffer* const freq = scale ? &scale->view() : nullptr;
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(rope(encoder, registry, device, input.view(), where.view(), freq, output.view(), p));
      expect_ok(rope(encoder, registry, device, input.view(), where.view(), freq, input.view(), p));
      expect_ok(encoder.commit_and_wait());
      const auto y = output.read();
      for (std::size_t head = 0; head < x.size(); head += p.head_dim) {
        std::vector<double> bound(p.head_dim, 0);  // beyond the pairs: exact
        for (std::size_t i = 0; i < p.rope_dim / 2; ++i) {
          const std::size_t a = adjacent ? 2 * i : i, b = a + split;
          bound[a] = bound[b] = 1e-6 * std::hypot(x[head + a], x[head + b]);
        }
        for (std::size_t i = 0; i < p.head_dim; ++i)
          ASSERT_LE(std::fabs(double{y[head + i]} - want[head + i]), bound[i]) << "value " << i << " of a head";
      }
      ASSERT_TRUE(same_bits(input.read(), y)) << "in place";
      output.expect_guards_intact();
      if (first.empty()) first = y;
      ASSERT_TRUE(same_bits(first, y)) << device.parallelism() << " threads";
    }
  }
};
MLXN_ON_BACKENDS(OpRope);

TEST_P(OpRope, PairingsSplitsAndPartialDims) {
  for_each_kernel(Op::Rope, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const std::uint32_t n_tokens : {1u, 3u, 33u}) {
      std::vector<std::uint32_t> positions = Random(n_tokens).ids(n_tokens, 5000);
      for (const auto& [head_dim, rope_dim, split] :
           {std::tuple{2u, 2u, 0u}, {64, 64, 0}, {128, 128, 64}, {80, 32, 0}, {256, 64, 128}, {5, 4, 3}, {100, 2, 99}})
        expect_rotated(registry,
                       {.n_tokens = n_tokens,
                        .n_heads = 3,
                        .head_dim = head_dim,
                        .rope_dim = rope_dim,
                        .theta = 10000,
                        .pair_split = split},
                       positions);
      for (const auto& [head_dim, rope_dim] : {std::pair{2u, 2u}, {64, 64}, {80, 32}, {7, 4}})
        expect_rotated(registry,
                       {.n_tokens = n_tokens,
                        .n_heads = 1,
                        .head_dim = head_dim,
                        .rope_dim = rope_dim,
                        .theta = 500000,
                        .pairing = RopePairing::Adjacent},
                       positions);
    }
  });
}

TEST_P(OpRope, PositionsOfAnySize) {
  for_each_kernel(Op::Rope, {}, [&](const KernelRegistry& registry, const std::string&) {
    const std::vector<std::uint32_t> positions = {0, 1, 1000, 131071, 1'000'000, 16'777'217, 4'294'967'295};
    for (const float theta : {10000.0f, 1e6f, 2.0f})
      expect_rotated(registry, {.n_tokens = 7, .n_heads = 2, .head_dim = 128, .rope_dim = 128, .theta = theta},
                     positions);
  });
}

TEST_P(OpRope, ScaledFrequencies) {
  for_each_kernel(Op::Rope, {}, [&](const KernelRegistry& registry, const std::string&) {
    const std::vector<std::uint32_t> positions = {0, 5, 100'000};
    std::vector<float> factors;
    for (int i = 0; i < 32; ++i) factors.push_back(1.0f + static_cast<float>(i * i) / 37);
    for (const RopePairing pairing : {RopePairing::Neox, RopePairing::Adjacent})
      for (const float freq_scale : {1.0f, 0.25f, 3.7f})
        expect_rotated(registry,
                       {.n_tokens = 3,
                        .n_heads = 4,
                        .head_dim = 80,
                        .rope_dim = 64,
                        .theta = 500000,
                        .pairing = pairing,
                        .freq_scale = freq_scale},
                       positions, factors);
  });
}

}  // namespace
}  // namespace mlx_native::conformance
