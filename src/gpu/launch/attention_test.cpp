// Attention on aligned caches, in every shape that the launcher tells apart, against float64.
#include "reference/attention.h"

#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/f16.h"
#include "support/backends.h"
#include "support/lane.h"
#include "support/numbers.h"
#include "support/random.h"

namespace mlx_native {
namespace {

struct Problem {
  std::uint32_t n_tokens, n_heads, n_kv_heads, head_dim, capacity, first;
  std::uint32_t window = 0;
  float softcap = 0;
  bool causal = true;
  float spread = 1;  // of keys and values: their magnitudes differ by powers of it
  std::uint32_t likely = 0;
};

class GpuAttention : public testing::TestWithParam<Backend> {
 protected:
  MlxBuffer upload(std::span<const float> values) const {
    MlxBuffer buffer = device.alloc_buffer(values.size_bytes(), DType::F32, {values.size()}).value();
    std::ranges::copy(values, buffer.as_mut_slice<float>().value().begin());
    return buffer;
  }
  /// Values become what the cache holds of them.
  MlxBuffer cache(std::vector<float>& values, bool f16) const {
    if (!f16) return upload(values);
    MlxBuffer buffer = device.alloc_buffer(values.size() * 2, DType::F16, {values.size()}).value();
    const auto bytes = buffer.reinterpret(DType::U8, {values.size() * 2}).value().as_mut_slice<std::uint8_t>().value();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t half = float_to_half(values[i]);
      std::memcpy(&bytes[2 * i], &half, 2);
      values[i] = half_to_float(half);
    }
    return buffer;
  }

  void expect_attended(const Problem& p, bool f16) {
    SCOPED_TRACE(testing::Message() << p.n_tokens << " tokens from " << p.first << ", heads " << p.n_heads << "/"
                                    << p.n_kv_heads << " of " << p.head_dim << ", capacity " << p.capacity
                                    << (f16 ? ", f16" : ", f32"));
    test::Random random(p.head_dim + p.n_tokens);
    const std::vector<float> q = random.values(std::size_t{p.n_tokens} * p.n_heads * p.head_dim);
    std::vector<float> k = random.values(std::size_t{p.n_kv_heads} * p.capacity * p.head_dim);
    std::vector<float> v = random.values(k.size());
    for (std::size_t i = 0; i < k.size(); ++i) {
      const float magnitude = std::pow(p.spread, static_cast<float>(i / p.head_dim % 7) - 3);
      k[i] *= std::min(magnitude, 3.0f);
      v[i] *= magnitude;
    }
    const float scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
    const MlxBuffer query = upload(q), keys = cache(k, f16), values = cache(v, f16);
    MlxBuffer output = upload(std::vector<float>(q.size(), std::nanf("")));
    std::vector<std::uint32_t> positions(p.n_tokens);
    std::iota(positions.begin(), positions.end(), p.first);
    MlxBuffer where = device.alloc_buffer(positions.size() * 4, DType::U32, {positions.size()}).value();
    std::ranges::copy(positions, where.as_mut_slice<std::uint32_t>().value().begin());

    CommandEncoder encoder = device.command_encoder().value();
    const auto added = attention(encoder, {}, device, query, keys, values, where, output,
                                 {.n_tokens = p.n_tokens,
                                  .n_heads = p.n_heads,
                                  .n_kv_heads = p.n_kv_heads,
                                  .head_dim = p.head_dim,
                                  .kv_capacity = p.capacity,
                                  .scale = scale,
                                  .causal = p.causal,
                                  .sliding_window = p.window,
                                  .softcap = p.softcap,
                                  .likely_keys = p.likely});
    ASSERT_TRUE(added.has_value()) << added.error().message;
    const auto ran = encoder.commit_and_wait();
    ASSERT_TRUE(ran.has_value()) << ran.error().message;

    const auto want = reference::attention(q, k, v, positions,
                                           {.n_heads = p.n_heads,
                                            .n_kv_heads = p.n_kv_heads,
                                            .head_dim = p.head_dim,
                                            .capacity = p.capacity,
                                            .scale = double{scale},
                                            .causal = p.causal,
                                            .sliding_window = p.window,
                                            .softcap = double{p.softcap}});
    EXPECT_LE(test::relative_error(output.as_slice<float>().value(), want), 2e-6);
  }

  MlxDevice device = MlxDevice::create(GetParam()).value();
};
MLXN_ON_GPUS(GpuAttention);

TEST_P(GpuAttention, EveryPackingAndMoreValuesThanRegistersHold) {
  for (const std::uint32_t dim : {2u, 6u, 64u, 80u, 96u, 112u, 128u, 192u, 256u, 510u, 512u, 600u, 1026u})
    for (const bool f16 : {false, true}) {
      expect_attended({1, 2, 2, dim, 50, 40}, f16);
      expect_attended({3, 4, 2, dim, 50, 40}, f16);
    }
}

TEST_P(GpuAttention, SplitsOfTheKeys) {
  for (const bool f16 : {false, true}) {
    expect_attended({1, 2, 2, 128, 1024, 900}, f16);    // a row at a time
    expect_attended({1, 8, 2, 128, 1024, 1023}, f16);   // a tile of rows
    expect_attended({2, 2, 1, 64, 1024, 20}, f16);      // most splits have no key
    expect_attended({1, 4, 1, 600, 700, 650}, f16);     // slices of the values, too
    expect_attended({1, 4, 2, 64, 513, 100'000}, f16);  // a ring that has gone round
  }
}

TEST_P(GpuAttention, OneTokenOfManyShapes) {
  for (const bool f16 : {false, true}) {
    for (const std::uint32_t dim : {64u, 80u, 96u, 112u, 128u, 192u, 256u, 512u})
      for (const std::uint32_t heads : {2u, 4u, 6u, 16u})
        expect_attended({1, heads, 2, dim, 90, heads == 2 ? 0u : 70u}, f16);
    expect_attended({1, 8, 2, 128, 300, 250, 33}, f16);            // a window
    expect_attended({1, 8, 2, 128, 300, 1000, 290, 5}, f16);       // in a ring that has gone round; a softcap
    expect_attended({1, 6, 2, 64, 300, 299, 0, 0, true, 8}, f16);  // large and small values
    expect_attended({1, 40, 40, 64, 200, 150}, f16);               // fewer groups for each of many heads
    expect_attended({1, 150, 150, 64, 40, 39}, f16);               // one
    expect_attended({1, 4, 1, 128, 100, 4'294'967'290u}, f16);     // the last positions
    if (GetParam() == Backend::Emulator) continue;
    for (const std::uint32_t capacity : {129u, 700u, 1024u, 1025u, 5000u})
      for (const std::uint32_t first : {capacity - 1, capacity / 2, 2 * capacity + 77}) {
        expect_attended({1, 8, 2, 128, capacity, first}, f16);
        expect_attended({1, 8, 2, 128, capacity, first, 0, 0, true, 1, 200}, f16);
        expect_attended({1, 2, 2, 80, capacity, first, capacity / 3}, f16);
        expect_attended({1, 3, 1, 256, capacity, first}, f16);
      }
    expect_attended({1, 4, 1, 64, 40'000, 39'999}, f16);  // more than one launch has
  }
}

TEST_P(GpuAttention, TilesOfManyTokens) {
  for (const bool f16 : {false, true}) {
    for (const std::uint32_t dim : {64u, 80u, 96u, 112u, 128u})
      expect_attended({70, test::kSlow ? 2u : 4u, 2, dim, 150, 17}, f16);
    if (test::kSlow && f16) break;
    expect_attended({130, 1, 1, 64, 200, 70, 33}, f16);           // a window
    expect_attended({64, 4, 2, 128, 100, 30, 0, 5}, f16);         // a softcap
    expect_attended({64, 4, 2, 64, 100, 36, 0, 0, false}, f16);   // every token sees all
    expect_attended({140, 2, 2, 128, 300, 100'001, 150}, f16);    // a ring and a window
    expect_attended({150, 1, 1, 64, 100, 1000}, f16);             // the first ones see nothing any more
    expect_attended({64, 4, 2, 128, 70, 0, 0, 0, true, 8}, f16);  // large and small values
    if (GetParam() == Backend::Emulator) continue;
    expect_attended({100, 8, 2, 128, 2048, 1700}, f16);
    expect_attended({150, 6, 2, 64, 512, 0}, f16);
    expect_attended({256, 1, 1, 64, 512, 0, 0, 0, true, f16 ? 8.0f : 100.0f}, f16);
  }
}

}  // namespace
}  // namespace mlx_native
