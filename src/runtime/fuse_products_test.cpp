// A product that does the work of its neighbours leaves the same bits as they do.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <tuple>

#include "support/fusion.h"

namespace mlx_native {
namespace {

using test::ProductShape;

class ProductFusion : public test::FusionTest {};
MLXN_ON_GPUS(ProductFusion);

constexpr ProductShape kShapes[] = {{1, 80, 4096},
                                    {1, 233, 2048},
                                    {1, 100, 1280, GgmlType::Q5_K},
                                    {2, 144, 512, GgmlType::Q8_0},
                                    {1, 300, 256, GgmlType::Q6_K},
                                    {1, 40, 9216},
                                    {2, 40, 14336},
                                    {4, 100, 1536, GgmlType::Q4_0},
                                    {3, 17, 768, GgmlType::Q5_0},
                                    {2, 90, 512, GgmlType::Q4_1},
                                    {1, 70, 768, GgmlType::Q3_K},
                                    {1, 64, 1280, GgmlType::IQ4_XS},
                                    {1, 100, 2048, GgmlType::BF16},
                                    {40, 64, 512},
                                    // Beyond what a GPU does at once.
                                    {1, 4096, 2048},
                                    {1, 12288, 1024},
                                    {1, 9000, 256, GgmlType::Q5_K},
                                    {2, 7000, 512}};
std::span<const ProductShape> shapes(Backend backend) {
  return std::span(kShapes).first(std::size(kShapes) - (backend == Backend::Cuda ? 0 : 4));
}

/// Longer rows are shared by the groups of a cluster, none of which could make their norm for itself.
constexpr std::uint32_t kLongestNormed = 12288;

TEST_P(ProductFusion, NormProductsAndActivation) {
  for (const ProductShape& s : shapes(GetParam())) {
    compare(s, streams(s) && s.k <= kLongestNormed, [&](Step& step) {
      MlxBuffer x = step.values(s.m * s.k), normed = step.values(s.m * s.k), gate = step.values(s.m * s.n),
                up = step.values(s.m * s.n), gated = step.values(s.m * s.n);
      const MlxBuffer norm = step.values(s.k), a = step.weight(s.type, s.n, s.k), b = step.weight(s.type, s.n, s.k);
      step.norm(x, norm, normed, s);
      step.product(normed, a, gate, s, s.type);
      step.product(normed, b, up, s, s.type);
      step.run(silu_mul(step.encoder, registry, device, gate, up, gated, {.n = std::uint64_t{s.m} * s.n}));
      // In place, and of x itself.
      step.product(x, a, gate, s, s.type);
      step.product(x, b, up, s, s.type);
      step.run(silu_mul(step.encoder, registry, device, gate, up, gate, {.n = std::uint64_t{s.m} * s.n}));
    });
  }
}

TEST_P(ProductFusion, NormAndProductsOfSeveralFormats) {
  for (const ProductShape& s : shapes(GetParam())) {
    const std::uint32_t values = s.n / 8 + 9;
    compare(s, streams(s) && s.k <= kLongestNormed, [&](Step& step) {
      MlxBuffer x = step.values(s.m * s.k), normed = step.values(s.m * s.k), query = step.values(s.m * s.n),
                key = step.values(s.m * 48), value = step.values(s.m * values), last = step.values(s.m * 32);
      const MlxBuffer norm = step.values(s.k);
      const MlxBuffer q = step.weight(s.type, s.n, s.k), k = step.weight(s.type, 48, s.k),
                      v = step.weight(s.other, values, s.k), l = step.weight(s.other, 32, s.k);
      for (const bool of_x : {false, true}) {
        if (!of_x) step.norm(x, norm, normed, s);
        const MlxBuffer& input = of_x ? x : normed;
        step.product(input, q, query, s, s.type);
        step.product(input, k, key, {s.m, 48, s.k}, s.type);
        step.product(input, v, value, {s.m, values, s.k}, s.other);
        step.product(input, l, last, {s.m, 32, s.k}, s.other);
      }
    });
  }
}

TEST_P(ProductFusion, ProductAndResidual) {
  for (const ProductShape& s : shapes(GetParam())) {
    compare(s, [&](Step& step) {
      MlxBuffer x = step.values(s.m * s.k), hidden = step.values(s.m * s.n), branch = step.values(s.m * s.n),
                sum = step.values(s.m * s.n);
      const MlxBuffer w = step.weight(s.type, s.n, s.k);
      const ElementwiseParams params{.rows = s.m, .cols = s.n};
      step.product(x, w, branch, s, s.type);
      step.run(elementwise_add(step.encoder, registry, device, hidden, branch, hidden, params));
      step.product(x, w, branch, s, s.type);
      step.run(elementwise_add(step.encoder, registry, device, branch, hidden, sum, params));
    });
  }
}

TEST_P(ProductFusion, ExpertsAndActivation) {
  for (const auto& [tokens, top_k, n, k, type] : {std::tuple{1u, 8u, 200u, 2048u, GgmlType::Q4_K},
                                                  {3, 2, 200, 2048, GgmlType::Q6_K},
                                                  {3, 2, 200, 512, GgmlType::Q6_K},
                                                  {2, 4, 128, 1024, GgmlType::Q8_0},
                                                  {1, 2, 50, 512, GgmlType::Q6_K},
                                                  {1, 8, 2048, 768, GgmlType::Q6_K},
                                                  {5, 3, 48, 256, GgmlType::Q5_K},
                                                  {3, 2, 64, 768, GgmlType::Q2_K},
                                                  {1, 2, 64, 512, GgmlType::BF16}}) {
    const std::uint32_t experts = 9, rows = tokens * top_k;
    const auto product = [&](Step& step, const MlxBuffer& x, const MlxBuffer& w, const MlxBuffer& ids, MlxBuffer& to) {
      step.run(quantized_matmul_id_ggml(step.encoder, registry, device, x, w, ids, to,
                                        {.n_tokens = tokens,
                                         .top_k = top_k,
                                         .n = n,
                                         .k = k,
                                         .n_experts = experts,
                                         .expert_stride = w.byte_len() / experts,
                                         .ggml_type = type}));
    };
    const auto record = [&](Step& step) {
      MlxBuffer x = step.values(tokens * k), gate = step.values(rows * n), up = step.values(rows * n);
      const MlxBuffer a = step.weight(type, experts * n, k), b = step.weight(type, experts * n, k);
      MlxBuffer ids = device.alloc_buffer(rows * 4, DType::U32, {rows}).value();
      std::ranges::copy(random.ids(rows, experts), ids.as_mut_slice<std::uint32_t>().value().begin());
      product(step, x, a, ids, gate);
      product(step, x, b, ids, up);
      step.run(silu_mul(step.encoder, registry, device, gate, up, gate, {.n = std::uint64_t{rows} * n}));
    };
    // Experts that begin elsewhere are not copied.
    const bool fusible =
        GetParam() == Backend::Cuda && type != GgmlType::BF16 && n * upload_weight(type, 1, k).byte_len() % 16 == 0;
    compare({tokens, n, k, type, type}, fusible, record);
  }
}

TEST_P(ProductFusion, RouterAndItsChoice) {
  for (const auto& [tokens, experts, top_k, dim, renormalize] : {std::tuple{1u, 128u, 8u, 2048u, true},
                                                                 {1, 64, 8, 4100, false},
                                                                 {2, 300, 40, 1031, true},
                                                                 {4, 3, 3, 33, false},
                                                                 {1, 1100, 4, 256, true},
                                                                 {8, 128, 8, 256, true}}) {
    const auto run = [&](bool apart) -> std::vector<MlxBuffer> {
      Step step{*this, device.command_encoder().value(), apart, {}};
      MlxBuffer x = step.values(tokens * dim), logits = step.values(tokens * experts),
                weights = step.values(tokens * top_k);
      MlxBuffer ids = device.alloc_buffer(tokens * top_k * 4, DType::U32, {tokens * top_k}).value();
      MlxBuffer w = upload(experts * dim);
      // Equal logits, of which the first go first.
      const auto rows = w.as_mut_slice<float>().value();
      std::ranges::copy(rows.first((experts - 1) / 2 * dim), rows.last((experts - 1) / 2 * dim).begin());
      step.product(x, w, logits, {tokens, experts, dim}, GgmlType::F32);
      step.run(
          moe_softmax_topk(step.encoder, registry, device, logits, ids, weights,
                           {.n_tokens = tokens, .n_experts = experts, .top_k = top_k, .renormalize = renormalize}));
      commit(step.encoder, true);
      EXPECT_EQ(ran("router"), !apart && GetParam() == Backend::Cuda && tokens <= 4 && experts <= 1024);
      return {logits, weights, ids};
    };
    expect_alike(run, testing::Message() << tokens << " tokens, " << experts << " experts, " << dim);
  }
}

TEST_P(ProductFusion, NotWhereTheResultWouldDiffer) {
  const ProductShape s{1, 512, 512};
  MlxBuffer x = upload(512), y = upload(512), z = upload(512);
  const MlxBuffer w = upload_weight(s.type, 512, 512);
  const auto fuses = [&](const auto& record) {
    device.reset_profile();
    Step step{*this, device.command_encoder().value(), false, {}};
    record(step);
    commit(step.encoder, true);
    return ran("fused_mat_vec");
  };
  const auto sum = [&](Step& step, const MlxBuffer& a, const MlxBuffer& b, MlxBuffer& to) {
    step.run(elementwise_add(step.encoder, registry, device, a, b, to, {.rows = 1, .cols = 512}));
  };
  const bool can = fuses([&](Step& step) { step.product(x, w, y, s, s.type), sum(step, z, y, z); });
  EXPECT_EQ(can, streams(s));
  // Over x, which other rows of the product still want; of another one's result; of the result with itself.
  EXPECT_FALSE(fuses([&](Step& step) { step.product(x, w, y, s, s.type), sum(step, x, y, x); }));
  EXPECT_FALSE(fuses([&](Step& step) { step.product(x, w, y, s, s.type), sum(step, x, z, z); }));
  EXPECT_FALSE(fuses([&](Step& step) { step.product(x, w, y, s, s.type), sum(step, y, y, z); }));
  // A norm in place, and of something else.
  const MlxBuffer norm = upload(512);
  EXPECT_FALSE(fuses([&](Step& step) { step.norm(x, norm, x, s), step.product(x, w, y, s, s.type); }));
  EXPECT_FALSE(fuses([&](Step& step) { step.norm(x, norm, z, s), step.product(x, w, y, s, s.type); }));
  EXPECT_EQ(fuses([&](Step& step) { step.norm(x, norm, z, s), step.product(z, w, y, s, s.type); }), can);
  // A product that overwrites what the next one's norm reads.
  EXPECT_FALSE(fuses([&](Step& step) { step.norm(x, norm, z, s), step.product(z, w, x, s, s.type); }));
  // An x, a norm's weight or a norm's result that no kernel reads 16 bytes at a time.
  MlxBuffer odd = upload(513).slice_view(4, 512).value();
  EXPECT_FALSE(fuses([&](Step& step) { step.product(odd, w, y, s, s.type), sum(step, z, y, z); }));
  EXPECT_FALSE(fuses([&](Step& step) { step.norm(odd, norm, z, s), step.product(z, w, y, s, s.type); }));
  EXPECT_FALSE(fuses([&](Step& step) { step.norm(x, odd, z, s), step.product(z, w, y, s, s.type); }));
  EXPECT_FALSE(fuses([&](Step& step) { step.norm(x, norm, odd, s), step.product(odd, w, y, s, s.type); }));
  // A kernel that was asked for by name.
  if (can) {
    expect_ok(registry.force("cuda.vec.mat_vec.q4_K"));
    EXPECT_FALSE(fuses([&](Step& step) { step.product(x, w, y, s, s.type), sum(step, z, y, z); }));
    registry.unforce();
  }
}

}  // namespace
}  // namespace mlx_native
