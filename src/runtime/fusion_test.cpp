// What one kernel does for several commands leaves the same bits as they do.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "support/backends.h"
#include "support/random.h"

namespace mlx_native {
namespace {

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
    std::vector<std::vector<std::byte>> results[2];
    const std::uint64_t seed = random.bits();
    for (const bool apart : {false, true}) {
      random = test::Random(seed);
      MlxBuffer query = upload(std::size_t{h.tokens} * h.heads * h.dim);
      MlxBuffer key = upload(std::size_t{h.tokens} * h.kv_heads * h.dim), value = upload(key.element_count());
      const MlxBuffer query_norm = upload(h.dim), key_norm = upload(h.dim);
      const std::size_t cached = std::size_t{h.kv_heads} * h.capacity * h.dim;
      MlxBuffer keys = cache(cached, h.f16), values = cache(cached, h.f16);
      MlxBuffer positions = device.alloc_buffer(h.tokens * 4, DType::U32, {h.tokens}).value();
      for (std::uint32_t i = 0; i < h.tokens; ++i) positions.as_mut_slice<std::uint32_t>().value()[i] = h.first + i;
      device.reset_profile();
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
      for (const MlxBuffer& buffer : {query, key, value, keys, values}) results[apart].push_back(bytes(buffer));
      EXPECT_EQ(ran("heads_to_cache"), !apart);
      EXPECT_EQ(ran("rope"), apart);
    }
    EXPECT_TRUE(results[0] == results[1]) << h.tokens << " tokens, heads of " << h.dim;
  }
}

TEST_P(Fusion, AddNorm) {
  for (const auto& [rows, dim] : {std::pair{1u, 4096u}, {3, 1025}, {1, 2048}, {2, 600}, {1, 4097}, {40, 513}}) {
    std::vector<std::vector<std::byte>> results[2];
    const std::uint64_t seed = random.bits();
    for (const bool apart : {false, true}) {
      random = test::Random(seed);
      MlxBuffer hidden = upload(rows * dim), branch = upload(rows * dim), normed = upload(rows * dim);
      const MlxBuffer norm = upload(dim);
      device.reset_profile();
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(elementwise_add(encoder, registry, device, hidden, branch, hidden, {.rows = rows, .cols = dim}));
      commit(encoder, apart);
      expect_ok(rms_norm(encoder, registry, device, hidden, norm, normed, {.rows = rows, .dim = dim, .eps = 1e-6f}));
      commit(encoder, true);
      for (const MlxBuffer& buffer : {hidden, branch, normed}) results[apart].push_back(bytes(buffer));
      EXPECT_EQ(ran("add_norm"), !apart && dim <= 4096);
    }
    EXPECT_TRUE(results[0] == results[1]) << rows << " x " << dim;
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
