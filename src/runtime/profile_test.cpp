// Times and work of commands, on every backend.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <cmath>

#include "support/backends.h"

namespace mlx_native {
namespace {

class Profiled : public testing::TestWithParam<Backend> {
 protected:
  MlxDevice device = MlxDevice::create(GetParam(), {.threads = 2, .profile = true}).value();
  KernelRegistry registry;

  template <class T>
  MlxBuffer upload(DType dtype, const std::vector<T>& values) const {
    MlxBuffer buffer = device.alloc_buffer(values.size() * sizeof(T), dtype, {values.size()}).value();
    std::ranges::copy(values, buffer.as_mut_slice<T>().value().begin());
    return buffer;
  }
  MlxBuffer floats(std::size_t n, float value = 1) const { return upload(DType::F32, std::vector<float>(n, value)); }
  MlxBuffer blocks(std::size_t bytes) const { return upload(DType::U8, std::vector<std::uint8_t>(bytes)); }

  /// The one entry, after what `record` records has run.
  template <class Record>
  ProfileEntry entry(const Record& record) const {
    device.reset_profile();
    CommandEncoder encoder = device.command_encoder().value();
    EXPECT_TRUE(record(encoder).has_value());
    EXPECT_TRUE(encoder.commit_and_wait().has_value());
    const auto entries = device.profile();
    EXPECT_EQ(entries.size(), 1u);
    EXPECT_GT(entries.at(0).seconds, 0);
    EXPECT_EQ(entries[0].calls, 1u);
    return entries[0];
  }
};
MLXN_ON_BACKENDS(Profiled);

TEST_P(Profiled, CommandsOfEncodersAndReplaysAreCountedAndStayRight) {
  const MlxBuffer weight = floats(8, 3);
  MlxBuffer hidden = floats(8, 2), sum = floats(8, NAN);
  const auto record = [&](CommandEncoder& encoder) {
    return rms_norm(encoder, registry, device, hidden, weight, hidden, {.rows = 1, .dim = 8, .eps = 0}).and_then([&] {
      return elementwise_add(encoder, registry, device, hidden, weight, sum, {.rows = 1, .cols = 8});
    });
  };
  CommandEncoder encoder = device.command_encoder().value();
  ASSERT_TRUE(record(encoder).has_value());
  EXPECT_TRUE(device.profile().empty());
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_EQ(sum.as_slice<float>().value()[7], 6);  // 2 becomes 1, times 3, plus 3

  GraphSession session = GraphExecutor(device).begin().value();
  ASSERT_TRUE(record(session.encoder()).has_value());
  ComputeGraph graph = session.record().value();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(graph.replay().has_value());
  const auto entries = device.profile();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_GE(entries[0].seconds, entries[1].seconds);
  for (const auto& entry : entries) {
    EXPECT_EQ(entry.calls, 5u);
    EXPECT_EQ(entry.bytes, 5u * 3 * 32) << entry.op;
    EXPECT_NE(entry.kernel.find(entry.op), std::string::npos);
    EXPECT_TRUE(entry.op == "rms_norm" || entry.op == "add");
  }
  device.reset_profile();
  EXPECT_TRUE(device.profile().empty());
}

TEST_P(Profiled, OtherDevicesKeepNothing) {
  const MlxDevice plain = MlxDevice::create(GetParam()).value();
  MlxBuffer values = plain.alloc_buffer(32, DType::F32, {8}).value();
  CommandEncoder encoder = plain.command_encoder().value();
  ASSERT_TRUE(elementwise_mul(encoder, registry, plain, values, values, values, {.rows = 1, .cols = 8}).has_value());
  ASSERT_TRUE(encoder.commit_and_wait().has_value());
  EXPECT_TRUE(plain.profile().empty());
}

TEST_P(Profiled, FailuresComeThrough) {
  const MlxBuffer logits = floats(4, NAN);
  MlxBuffer token = upload(DType::U32, std::vector<std::uint32_t>(1));
  CommandEncoder encoder = device.command_encoder().value();
  ASSERT_TRUE(argmax(encoder, registry, device, logits, token, {.rows = 1, .cols = 4}).has_value());
  EXPECT_EQ(encoder.commit_and_wait().error().kind, ErrorKind::InvalidArgument);
}

TEST_P(Profiled, WorkOfProducts) {
  constexpr std::uint32_t m = 3, n = 10, k = 64;
  const std::size_t row = k / 32 * 34;
  const MlxBuffer weight = blocks(4 * n * row), input = floats(m * k);
  MlxBuffer output = floats(m * 2 * n);
  const auto dense = entry([&](CommandEncoder& encoder) {
    return quantized_matmul_ggml(encoder, registry, device, input, weight, output,
                                 {.m = m, .n = n, .k = k, .ggml_type = GgmlType::Q8_0});
  });
  EXPECT_EQ(dense.problem, "10 x 64, m = 3");
  EXPECT_EQ(dense.bytes, n * row + 4 * m * (n + k));
  EXPECT_EQ(dense.operations, 2.0 * m * n * k);

  // Of four experts two are used.
  const MlxBuffer ids = upload(DType::U32, std::vector<std::uint32_t>{1, 3, 3, 1, 1, 3});
  const auto routed = entry([&](CommandEncoder& encoder) {
    return quantized_matmul_id_ggml(encoder, registry, device, input, weight, ids, output,
                                    {.n_tokens = m,
                                     .top_k = 2,
                                     .n = n,
                                     .k = k,
                                     .n_experts = 4,
                                     .expert_stride = n * row,
                                     .ggml_type = GgmlType::Q8_0});
  });
  EXPECT_EQ(routed.problem, "2 of 4 x 10 x 64, m = 3");
  EXPECT_EQ(routed.bytes, 2 * n * row + 4 * (m * k + 2 * m * (n + 1)));
  EXPECT_EQ(routed.operations, 2.0 * m * 2 * n * k);
}

TEST_P(Profiled, WorkOfAttentionIsWhatItsQueriesSee) {
  constexpr std::uint32_t tokens = 3, heads = 4, kv_heads = 2, head_dim = 8, capacity = 32;
  const MlxBuffer query = floats(tokens * heads * head_dim), cache = floats(kv_heads * capacity * head_dim);
  const MlxBuffer positions = upload(DType::U32, std::vector<std::uint32_t>{10, 11, 12});
  MlxBuffer output = floats(tokens * heads * head_dim);
  const auto work = [&](bool causal, std::uint32_t window) {
    return entry([&](CommandEncoder& encoder) {
      return attention(encoder, registry, device, query, cache, cache, positions, output,
                       {.n_tokens = tokens,
                        .n_heads = heads,
                        .n_kv_heads = kv_heads,
                        .head_dim = head_dim,
                        .kv_capacity = capacity,
                        .scale = 1,
                        .causal = causal,
                        .sliding_window = window});
    });
  };
  const std::uint64_t activations = 2 * 4 * tokens * heads * head_dim, position = 2 * 4 * kv_heads * head_dim;
  const auto causal = work(true, 0);
  EXPECT_EQ(causal.bytes, activations + 13 * position);
  EXPECT_EQ(causal.operations, 4.0 * heads * head_dim * (11 + 12 + 13));
  EXPECT_EQ(work(false, 0).operations, 4.0 * heads * head_dim * 3 * 13);
  const auto window = work(true, 4);
  EXPECT_EQ(window.bytes, activations + 6 * position);  // the first query sees 7 to 10, the last 9 to 12
  EXPECT_EQ(window.operations, 4.0 * heads * head_dim * 3 * 4);
}

TEST_P(Profiled, OfTablesAndCachesOnlyWhatIsTouched) {
  constexpr std::uint32_t dim = 64, rows = 100;
  const MlxBuffer table = blocks(rows * 68), ids = upload(DType::U32, std::vector<std::uint32_t>{5, 7});
  MlxBuffer output = floats(2 * dim);
  const auto gather = entry([&](CommandEncoder& encoder) {
    return embedding_gather_ggml(encoder, registry, device, table, ids, output,
                                 {.n_tokens = 2, .n_rows = rows, .dim = dim, .ggml_type = GgmlType::Q8_0});
  });
  EXPECT_EQ(gather.bytes, 2u * (68 + 4 * dim + 4));
  MlxBuffer cache = floats(2 * 32 * 8);
  const MlxBuffer keys = floats(2 * 2 * 8), positions = upload(DType::U32, std::vector<std::uint32_t>{0, 1});
  const auto write = entry([&](CommandEncoder& encoder) {
    return kv_cache_write(encoder, registry, device, keys, positions, cache,
                          {.n_tokens = 2, .n_kv_heads = 2, .head_dim = 8, .kv_capacity = 32});
  });
  EXPECT_EQ(write.bytes, 2u * 2 * 8 * 8);
}

}  // namespace
}  // namespace mlx_native
