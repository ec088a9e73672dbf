// What one kernel does for several commands leaves the same bits as they do.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <span>
#include <tuple>

#include "core/dialect.h"
#include "support/backends.h"
#include "support/lane.h"
#include "support/random.h"

namespace mlx_native {
namespace {

/// Of products: m rows of k by n rows.
struct Shape {
  std::uint32_t m, n, k;
  GgmlType type = GgmlType::Q4_K, other = GgmlType::Q6_K;
};

class Fusion : public testing::TestWithParam<Backend> {
 protected:
  MlxBuffer upload(std::size_t n) {
    MlxBuffer buffer = device.alloc_buffer(n * 4, DType::F32, {n}).value();
    std::ranges::copy(random.values(n), buffer.as_mut_slice<float>().value().begin());
    return buffer;
  }
  MlxBuffer cache(std::size_t n, bool f16) {
    return device.alloc_buffer(n * (f16 ? 2 : 4), f16 ? DType::F16 : DType::F32, {n}).value();
  }
  static std::vector<std::byte> bytes(const MlxBuffer& buffer) {
    const auto view = buffer.reinterpret(DType::U8, {buffer.byte_len()}).value();
    const auto slice = view.as_slice<std::uint8_t>().value();
    std::vector<std::byte> copy(slice.size());
    std::memcpy(copy.data(), slice.data(), slice.size());
    return copy;
  }
  bool ran(std::string_view op) const {
    return std::ranges::any_of(device.profile(), [&](const ProfileEntry& entry) { return entry.op == op; });
  }
  void commit(CommandEncoder& encoder, bool always) const {
    if (always) expect_ok(encoder.commit_and_wait());
  }
  MlxBuffer upload_weight(GgmlType type, std::size_t n, std::size_t k) {
    const std::size_t rows = std::min<std::size_t>(n, 29);  // and again and again: their encoding takes a while
    const auto blocks = quantize(type, random.values(rows * k)).value();
    const std::size_t bytes = blocks.size() / rows * n;
    MlxBuffer buffer = device.alloc_buffer(bytes, DType::U8, {bytes}).value();
    const auto to = buffer.as_mut_slice<std::uint8_t>().value();
    for (std::size_t i = 0; i < bytes; ++i) to[i] = blocks[i % blocks.size()];
    return buffer;
  }

  /// Commands that are run one by one or together, and what they leave in memory.
  struct Step {
    Fusion& test;
    CommandEncoder encoder;
    bool apart;
    std::vector<MlxBuffer> buffers;

    MlxBuffer values(std::size_t n) { return buffers.emplace_back(test.upload(n)); }
    MlxBuffer weight(GgmlType type, std::size_t n, std::size_t k) { return test.upload_weight(type, n, k); }
    void run(const Result<void>& recorded) {
      expect_ok(recorded);
      test.commit(encoder, apart);
    }
    void norm(const MlxBuffer& x, const MlxBuffer& weight, MlxBuffer& to, const Shape& s) {
      run(rms_norm(encoder, test.registry, test.device, x, weight, to, {.rows = s.m, .dim = s.k, .eps = 1e-6f}));
    }
    void product(const MlxBuffer& x, const MlxBuffer& weight, MlxBuffer& to, const Shape& s, GgmlType type) {
      run(quantized_matmul_ggml(encoder, test.registry, test.device, x, weight, to,
                                {.m = s.m, .n = s.n, .k = s.k, .ggml_type = type}));
    }
  };
  /// Whether the product's kernel has a fused form.
  bool streams(const Shape& s) {
    Step step{*this, device.command_encoder().value(), true, {}};
    MlxBuffer x = upload(s.m * s.k), y = upload(s.m * s.n);
    const MlxBuffer w = upload_weight(s.type, s.n, s.k);
    step.product(x, w, y, s, s.type);
    return step.encoder.dispatched_kernels().front().starts_with("cuda.stream.");
  }
  /// `run` records commands, which it commits one by one or together, and returns buffers: their bytes are the same.
  void expect_alike(const std::function<std::vector<MlxBuffer>(bool apart)>& run, const testing::Message& what) {
    std::vector<std::vector<std::byte>> results[2];
    const std::uint64_t seed = random.bits();
    for (const bool apart : {false, true}) {
      random = test::Random(seed);
      device.reset_profile();
      for (const MlxBuffer& buffer : run(apart)) results[apart].push_back(bytes(buffer));
    }
    ASSERT_EQ(results[0].size(), results[1].size()) << what;
    for (std::size_t i = 0; i < results[0].size(); ++i)
      EXPECT_TRUE(results[0][i] == results[1][i]) << "buffer " << i << ", " << what;
  }
  /// The same bytes, and fewer commands if there is such a kernel.
  void compare(const Shape& s, const std::function<void(Step&)>& record) { compare(s, streams(s), record); }
  void compare(const Shape& s, bool fusible, const std::function<void(Step&)>& record) {
    const auto run = [&](bool apart) -> std::vector<MlxBuffer> {
      Step step{*this, device.command_encoder().value(), apart, {}};
      record(step);
      commit(step.encoder, true);
      EXPECT_EQ(ran("fused_mat_vec") || ran("fused_mat_vec_id"), fusible && !apart);
      return step.buffers;
    };
    expect_alike(run, testing::Message() << s.m << " rows, " << s.n << " x " << s.k << ", " << ggml_type_name(s.type));
  }

  static void expect_ok(const Result<void>& result) { ASSERT_TRUE(result.has_value()) << result.error().message; }

  MlxDevice device = MlxDevice::create(GetParam(), {.profile = true}).value();
  KernelRegistry registry;
  test::Random random{1};
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
      MlxBuffer positions = device.alloc_buffer(h.tokens * 4, DType::U32, {h.tokens}).value();
      for (std::uint32_t i = 0; i < h.tokens; ++i) positions.as_mut_slice<std::uint32_t>().value()[i] = h.first + i;
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
      MlxBuffer keys = step.buffers.emplace_back(cache(cached, h.f16)),
                values = step.buffers.emplace_back(cache(cached, h.f16));
      for (MlxBuffer* const each : {&keys, &values}) {
        const auto floats = random.values(cached);
        if (h.f16)
          std::ranges::transform(floats, each->as_mut_slice<std::uint16_t>().value().begin(),
                                 [](float x) { return float_to_half(x); });
        else
          std::ranges::copy(floats, each->as_mut_slice<float>().value().begin());
      }
      MlxBuffer positions = device.alloc_buffer(h.tokens * 4, DType::U32, {h.tokens}).value();
      for (std::uint32_t i = 0; i < h.tokens; ++i) positions.as_mut_slice<std::uint32_t>().value()[i] = h.position + i;
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
  const auto record = [&](bool apart, std::uint32_t tokens, std::uint32_t top_k, const Shape& s, Then then) {
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
    const Shape s{tokens, 48, dim};
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

constexpr Shape kShapes[] = {{1, 80, 4096},
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
std::span<const Shape> shapes(Backend backend) {
  return std::span(kShapes).first(std::size(kShapes) - (backend == Backend::Cuda ? 0 : 4));
}

/// Longer rows are shared by the groups of a cluster, none of which could make their norm for itself.
constexpr std::uint32_t kLongestNormed = 12288;

TEST_P(Fusion, NormProductsAndActivation) {
  for (const Shape& s : shapes(GetParam())) {
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

TEST_P(Fusion, NormAndProductsOfSeveralFormats) {
  for (const Shape& s : shapes(GetParam())) {
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

TEST_P(Fusion, ProductAndResidual) {
  for (const Shape& s : shapes(GetParam())) {
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

TEST_P(Fusion, ExpertsAndActivation) {
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

TEST_P(Fusion, RouterAndItsChoice) {
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

TEST_P(Fusion, ProductsNotWhereTheResultWouldDiffer) {
  const Shape s{1, 512, 512};
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
