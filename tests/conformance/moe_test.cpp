#include "reference/moe.h"

#include "conformance/conformance.h"

namespace mlx_native::conformance {
namespace {

class OpMoe : public OnBackend {
 protected:
  void expect_routed(const KernelRegistry& registry, std::span<const float> x, const MoeSoftmaxTopkParams& p) const {
    SCOPED_TRACE(testing::Message() << p.n_tokens << " tokens, top " << p.top_k << " of " << p.n_experts);
    const auto want = reference::moe_softmax_topk(x, p.n_experts, p.top_k, p.renormalize);
    std::vector<float> first;
    for (const MlxDevice& device : devices_of(GetParam())) {
      Guarded<float> logits(device, x, 4), weights(device, want.weights.size(), 8);
      Guarded<std::uint32_t> ids(device, want.ids.size(), 12);
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(moe_softmax_topk(encoder, registry, device, logits.view(), ids.view(), weights.view(), p));
      expect_ok(encoder.commit_and_wait());
      ASSERT_EQ(ids.read(), want.ids);
      expect_values(weights.read(), want.weights, 1e-6, 1e-37);
      ids.expect_guards_intact();
      weights.expect_guards_intact();
      if (first.empty()) first = weights.read();
      ASSERT_TRUE(same_bits(first, weights.read())) << device.parallelism() << " threads";
    }
  }
};
MLXN_ON_BACKENDS(OpMoe);

TEST_P(OpMoe, SoftmaxTopk) {
  for_each_kernel(Op::MoeSoftmaxTopk, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const auto& [experts, top_k] : {std::pair{1u, 1u},
                                         {2, 1},
                                         {4, 2},
                                         {17, 17},
                                         {31, 5},
                                         {33, 8},
                                         {64, 6},
                                         {100, 3},
                                         {128, 8},
                                         {300, 300},
                                         {513, 10}})
      for (const std::uint32_t n_tokens : {1u, 7u, 33u})
        for (const bool renormalize : {true, false}) {
          auto x = Random(experts).values(std::size_t{n_tokens} * experts, Data::Outliers);
          expect_routed(registry, x, {n_tokens, experts, top_k, renormalize});
        }
  });
}

TEST_P(OpMoe, OfEqualsTheLowestExpertFirst) {
  for_each_kernel(Op::MoeSoftmaxTopk, {}, [&](const KernelRegistry& registry, const std::string&) {
    std::vector<float> x(5 * 64, 1.0f);
    for (std::size_t i = 64; i < x.size(); ++i) x[i] = static_cast<float>(Random(i).below(4));
    x[64] = -0.0f, x[65] = 0.0f;
    expect_routed(registry, x, {5, 64, 8, true});
    expect_routed(registry, x, {5, 64, 64, true});
  });
}

TEST_P(OpMoe, ExtremeAndBrokenLogits) {
  for_each_kernel(Op::MoeSoftmaxTopk, {}, [&](const KernelRegistry& registry, const std::string&) {
    std::vector<float> x = Random(3).values(8 * 40);
    x[0] = 1e30f;
    x[40 + 39] = NAN;
    x[80 + 0] = INFINITY;
    x[120 + 7] = -INFINITY;
    std::fill_n(x.begin() + 160, 40, -INFINITY);
    std::fill_n(x.begin() + 200, 38, -INFINITY);
    x[240] = -NAN;
    for (const bool renormalize : {true, false}) expect_routed(registry, x, {8, 40, 4, renormalize});
  });
}

TEST_P(OpMoe, WeightedReduce) {
  for_each_kernel(Op::MoeWeightedReduce, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const auto& [tokens, top_k, dim] :
         {std::tuple{1u, 1u, 1u}, {3, 2, 17}, {1, 8, 1000}, {33, 17, 64}, {100, 4, 33}}) {
      Random random(tokens + dim);
      const auto x = random.values(std::size_t{tokens} * top_k * dim, Data::Outliers);
      const auto w = random.values(std::size_t{tokens} * top_k);
      const auto want = reference::moe_weighted_reduce(x, w, top_k, dim);
      std::vector<float> first;
      for (const MlxDevice& device : devices_of(GetParam())) {
        Guarded<float> experts(device, x, 4), weights(device, w, 8), output(device, want.size(), 12);
        CommandEncoder encoder = device.command_encoder().value();
        expect_ok(moe_weighted_reduce(encoder, registry, device, experts.view(), weights.view(), output.view(),
                                      {.n_tokens = tokens, .top_k = top_k, .dim = dim}));
        expect_ok(encoder.commit_and_wait());
        ASSERT_LE(relative_error(output.read(), want), 1e-6);
        output.expect_guards_intact();
        if (first.empty()) first = output.read();
        ASSERT_TRUE(same_bits(first, output.read())) << device.parallelism() << " threads";
      }
    }
  });
}

}  // namespace
}  // namespace mlx_native::conformance
