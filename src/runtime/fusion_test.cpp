// One kernel that makes heads, sums or norms of several commands leaves the same bits as they do.
#include "support/fusion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "core/dialect.h"
#include "support/lane.h"

namespace mlx_native {
namespace {

using test::ProductShape;

class Fusion : public test::FusionTest {
 protected:
  MlxBuffer ascending(std::uint32_t first, std::uint32_t n) {
    MlxBuffer positions = device.alloc_buffer(n * 4, DType::U32, {n}).value();
    const auto values = positions.as_mut_slice<std::uint32_t>().value();
    std::iota(values.begin(), values.end(), first);
    return positions;
  }
  MlxBuffer filled_cache(std::size_t n, bool f16) {
    MlxBuffer buffer = cache(n, f16);
    const auto floats = random.values(n);
    if (f16)
      std::ranges::transform(floats, buffer.as_mut_slice<std::uint16_t>().value().begin(),
                             [](float x) { return float_to_half(x); });
    else
      std::ranges::copy(floats, buffer.as_mut_slice<float>().value().begin());
    return buffer;
  }
};
MLXN_ON_GPUS(Fusion);

struct Heads {
  std::uint32_t tokens, heads, kv_heads, dim, rope_dim, capacity, first;
  bool norms, f16;
  RopePairing pairing;
};

TEST_P(Fusion, HeadsToCache) {
  for (const Heads& h : {Heads{1, 8, 2, 128, 128, 40, 17, true, false, RopePairing::Neox},
                         {3, 4, 4, 64, 64, 8, 6, true, true, RopePairing::Neox},
                         {2, 3, 1, 80, 40, 16, 1000, false, false, RopePairing::Adjacent},
                         {1, 33, 3, 256, 128, 5, 9, false, true, RopePairing::Neox},
                         {300, 2, 1, 6, 6, 400, 0, true, false, RopePairing::Neox}}) {
    const auto run = [&](bool apart) -> std::vector<MlxBuffer> {
      MlxBuffer query = upload(std::size_t{h.tokens} * h.heads * h.dim);
      MlxBuffer key = upload(std::size_t{h.tokens} * h.kv_heads * h.dim), value = upload(key.element_count());
      const MlxBuffer query_norm = upload(h.dim), key_norm = upload(h.dim);
      const std::size_t cached = std::size_t{h.kv_heads} * h.capacity * h.dim;
      MlxBuffer keys = cache(cached, h.f16), values = cache(cached, h.f16);
      const MlxBuffer positions = ascending(h.first, h.tokens);
      CommandEncoder encoder = device.command_encoder().value();
      const auto rotate = [&](MlxBuffer& x, const MlxBuffer& norm, std::uint32_t n) {
        if (h.norms) {
          expect_ok(
              rms_norm(encoder, registry, device, x, norm, x, {.rows = h.tokens * n, .dim = h.dim, .eps = 1e-6f}));
          commit(encoder, apart);
        }
        expect_ok(rope(encoder, registry, device, x, positions, nullptr, x,
                       {.n_tokens = h.tokens,
                        .n_heads = n,
                        .head_dim = h.dim,
                        .rope_dim = h.rope_dim,
                        .theta = 1e6f,
                        .pairing = h.pairing}));
        commit(encoder, apart);
      };
      rotate(query, query_norm, h.heads);
      rotate(key, key_norm, h.kv_heads);
      const KvCacheWriteParams write{
          .n_tokens = h.tokens, .n_kv_heads = h.kv_heads, .head_dim = h.dim, .kv_capacity = h.capacity};
      expect_ok(kv_cache_write(encoder, registry, device, key, positions, keys, write));
      commit(encoder, apart);
      expect_ok(kv_cache_write(encoder, registry, device, value, positions, values, write));
      commit(encoder, true);
      EXPECT_EQ(ran("heads_to_cache"), !apart);
      EXPECT_EQ(ran("rope"), apart);
      return {query, key, value, keys, values};
    };
    expect_alike(run, testing::Message() << h.tokens << " tokens, heads of " << h.dim);
  }
}

struct HeadsAttended {
  std::uint32_t heads, kv_heads, dim, rope_dim, capacity, position;
  bool norms, f16;
  RopePairing pairing = RopePairing::Neox;
  std::uint32_t window = 0, tokens = 1, likely = 0;
};

TEST_P(Fusion, HeadsAndTheirAttention) {
  for (const HeadsAttended& h : {HeadsAttended{8, 2, 128, 128, 40, 17, true, false},
                                 {32, 4, 128, 128, 100, 0, true, false},
                                 {8, 2, 128, 128, 700, 640, true, false},
                                 {8, 2, 128, 128, 700, 640, true, false, RopePairing::Neox, 0, 1, 300},
                                 {32, 4, 128, 128, 300, 299, true, true},
                                 {3, 3, 96, 96, 1100, 1000, true, false},
                                 {4, 2, 128, 64, 260, 2000, false, true, RopePairing::Adjacent, 200},
                                 {4, 4, 64, 64, 300, 1, true, true},
                                 {3, 1, 80, 40, 16, 1000, false, false, RopePairing::Adjacent},
                                 {6, 1, 64, 64, 520, 300, true, true},
                                 {4, 2, 256, 128, 600, 599, false, true},
                                 {2, 1, 128, 128, 64, 50, true, false, RopePairing::Neox, 7},
                                 {4, 2, 128, 128, 64, 50, true, false, RopePairing::Neox, 0, 2},
                                 {2, 1, 6, 6, 64, 5, true, false},
                                 {2, 1, 512, 128, 8, 5, true, false}}) {
    const auto run = [&](bool apart) -> std::vector<MlxBuffer> {
      Step step{*this, device.command_encoder().value(), apart, {}};
      MlxBuffer query = step.values(h.tokens * h.heads * h.dim), key = step.values(h.tokens * h.kv_heads * h.dim),
                value = step.values(key.element_count()), rotated_query = step.values(query.element_count()),
                rotated_key = step.values(key.element_count()), attended = step.values(query.element_count());
      const MlxBuffer query_norm = upload(h.dim), key_norm = upload(h.dim);
      const std::size_t cached = std::size_t{h.kv_heads} * h.capacity * h.dim;
      MlxBuffer keys = step.buffers.emplace_back(filled_cache(cached, h.f16)),
                values = step.buffers.emplace_back(filled_cache(cached, h.f16));
      const MlxBuffer positions = ascending(h.position, h.tokens);
      const auto rotate = [&](const MlxBuffer& x, const MlxBuffer& norm, MlxBuffer& to, std::uint32_t n) {
        if (h.norms)
          step.run(rms_norm(step.encoder, registry, device, x, norm, to,
                            {.rows = h.tokens * n, .dim = h.dim, .eps = 1e-6f}));
        step.run(rope(step.encoder, registry, device, h.norms ? to : x, positions, nullptr, to,
                      {.n_tokens = h.tokens,
                       .n_heads = n,
                       .head_dim = h.dim,
                       .rope_dim = h.rope_dim,
                       .theta = 1e6f,
                       .pairing = h.pairing}));
      };
      rotate(query, query_norm, rotated_query, h.heads);
      rotate(key, key_norm, rotated_key, h.kv_heads);
      const KvCacheWriteParams write{
          .n_tokens = h.tokens, .n_kv_heads = h.kv_heads, .head_dim = h.dim, .kv_capacity = h.capacity};
      step.run(kv_cache_write(step.encoder, registry, device, rotated_key, positions, keys, write));
      step.run(kv_cache_write(step.encoder, registry, device, value, positions, values, write));
      step.run(attention(step.encoder, registry, device, rotated_query, keys, values, positions, attended,
                         {.n_tokens = h.tokens,
                          .n_heads = h.heads,
                          .n_kv_heads = h.kv_heads,
                          .head_dim = h.dim,
                          .kv_capacity = h.capacity,
                          .scale = 0.1f,
                          .sliding_window = h.window,
                          .likely_keys = h.likely}));
      commit(step.encoder, true);
      EXPECT_EQ(ran("heads_attention"), !apart && h.tokens == 1 && h.dim <= 256);
      return step.buffers;
    };
    expect_alike(
        run, testing::Message() << h.heads << " of " << h.kv_heads << " heads of " << h.dim << " at " << h.position);
  }
}

/// Rows up to here are summed by a simdgroup each, which a fused norm does not do.
constexpr std::uint32_t kLongestOfSimdgroup = 512;

TEST_P(Fusion, AddNorm) {
  for (const auto& [rows, dim] :
       {std::pair{1u, 4096u}, {3, 1025}, {1, 2048}, {2, 600}, {1, 4097}, {40, 513}, {40, 512}, {3, 256}}) {
    const auto run = [&](bool apart) -> std::vector<MlxBuffer> {
      MlxBuffer hidden = upload(rows * dim), branch = upload(rows * dim), normed = upload(rows * dim);
      const MlxBuffer norm = upload(dim);
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(elementwise_add(encoder, registry, device, hidden, branch, hidden, {.rows = rows, .cols = dim}));
      commit(encoder, apart);
      expect_ok(rms_norm(encoder, registry, device, hidden, norm, normed, {.rows = rows, .dim = dim, .eps = 1e-6f}));
      commit(encoder, true);
      EXPECT_EQ(ran("add_norm"), !apart && dim > kLongestOfSimdgroup && dim <= 4096);
      return {hidden, branch, normed};
    };
    expect_alike(run, testing::Message() << rows << " x " << dim);
  }
}

TEST_P(Fusion, MoeReduceAndResidual) {
  enum class Then { Nothing, Norm, NormOfProduct };
  const auto record = [&](bool apart, std::uint32_t tokens, std::uint32_t top_k, const ProductShape& s, Then then) {
    Step step{*this, device.command_encoder().value(), apart, {}};
    MlxBuffer experts = step.values(tokens * top_k * s.k), weights = step.values(tokens * top_k),
              branch = step.values(tokens * s.k), hidden = step.values(tokens * s.k),
              normed = step.values(tokens * s.k), y = step.values(tokens * s.n);
    const MlxBuffer norm = step.values(s.k), w = step.weight(s.type, s.n, s.k);
    step.run(moe_weighted_reduce(step.encoder, registry, device, experts, weights, branch,
                                 {.n_tokens = tokens, .top_k = top_k, .dim = s.k}));
    step.run(elementwise_add(step.encoder, registry, device, hidden, branch, hidden, {.rows = tokens, .cols = s.k}));
    if (then != Then::Nothing) step.norm(hidden, norm, normed, s);
    if (then == Then::NormOfProduct) step.product(normed, w, y, s, s.type);
    commit(step.encoder, true);
    std::vector<std::vector<std::byte>> results;
    for (const MlxBuffer& buffer : step.buffers) results.push_back(bytes(buffer));
    return results;
  };
  for (const auto& [tokens, top_k, dim] : {std::tuple{1u, 8u, 2048u}, {3, 2, 256}, {40, 3, test::kSlow ? 768 : 1280}}) {
    const ProductShape s{tokens, 48, dim};
    for (const Then then : {Then::Nothing, Then::Norm, Then::NormOfProduct}) {
      const std::uint64_t seed = random.bits();
      random = test::Random(seed);
      device.reset_profile();
      const auto together = record(false, tokens, top_k, s, then);
      const bool fused = ran("moe_reduce_add");
      EXPECT_EQ(fused, then == Then::Nothing || (then == Then::NormOfProduct && streams(s)));
      EXPECT_EQ(ran("add_norm"), then != Then::Nothing && !fused && dim > kLongestOfSimdgroup);
      random = test::Random(seed);
      EXPECT_TRUE(record(true, tokens, top_k, s, then) == together) << tokens << " tokens, " << dim;
    }
  }
}

TEST_P(Fusion, NotWhereTheResultWouldDiffer) {
  MlxBuffer a = upload(1024), b = upload(1024), c = upload(1024), weight = upload(1024);
  const ElementwiseParams params{.rows = 1, .cols = 1024};
  const auto fuses = [&](const MlxBuffer& sum_from, MlxBuffer& sum, const MlxBuffer& normed_from, MlxBuffer& normed,
                         const MlxBuffer& by) {
    device.reset_profile();
    CommandEncoder encoder = device.command_encoder().value();
    expect_ok(elementwise_add(encoder, registry, device, a, sum_from, sum, params));
    expect_ok(rms_norm(encoder, registry, device, normed_from, by, normed, {.rows = 1, .dim = 1024, .eps = 1e-6f}));
    commit(encoder, true);
    return ran("add_norm");
  };
  MlxBuffer d = upload(1024);
  EXPECT_TRUE(fuses(b, c, c, d, weight));
  EXPECT_TRUE(fuses(b, a, a, d, weight));
  EXPECT_FALSE(fuses(b, c, a, d, weight));  // another norm's input
  EXPECT_FALSE(fuses(b, c, c, c, weight));  // in place
  EXPECT_FALSE(fuses(b, c, c, b, weight));  // over what is added
  EXPECT_TRUE(fuses(b, c, c, d, a));        // by what is added
  EXPECT_FALSE(fuses(b, a, a, d, a));       // by the sum itself
}

}  // namespace
}  // namespace mlx_native
