// embedding_gather_ggml and dequantize_ggml: exact.
#include <fmt/format.h>

#include <bit>

#include "conformance/conformance.h"
#include "reference/matmul.h"

namespace mlx_native::conformance {
namespace {

/// Blocks of any bytes, NaN and infinite scales included.
std::vector<std::uint8_t> any_bytes(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint8_t> bytes(n);
  for (auto& b : bytes) b = static_cast<std::uint8_t>(random.bits());
  return bytes;
}

/// The same bits, but for NaNs, whose payload is nobody's promise.
void expect_exact(std::span<const float> got, std::span<const float> want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i]) && std::isnan(got[i])) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(want[i]))
        << "at " << i << ": got " << got[i] << ", want " << want[i];
  }
}

class OpDecode : public testing::TestWithParam<std::tuple<Backend, GgmlType>> {
 protected:
  Backend backend = std::get<0>(GetParam());
  GgmlType type = std::get<1>(GetParam());
  GgmlLayout layout = *ggml_layout(type);

  void by_every_kernel(Op op, const std::function<void(const MlxDevice&, const KernelRegistry&)>& check) const {
    bool any = false;
    for (const auto& kernel : test::kernels_of(backend)) {
      if (kernel->op != op || kernel->format != type) continue;
      any = true;
      SCOPED_TRACE(kernel->name);
      KernelRegistry registry;
      ASSERT_TRUE(registry.force(kernel->name).has_value());
      for (const MlxDevice& device : devices_of(backend)) check(device, registry);
    }
    EXPECT_TRUE(any);
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, OpDecode,
                         testing::Combine(testing::ValuesIn(available_backends()), testing::ValuesIn(weight_formats())),
                         [](const auto& info) {
                           return fmt::format("{}_{}", backend_name(std::get<0>(info.param)),
                                              ggml_type_name(std::get<1>(info.param)));
                         });

TEST_P(OpDecode, AnyBlocksDequantizeExactly) {
  by_every_kernel(Op::Dequantize, [&](const MlxDevice& device, const KernelRegistry& registry) {
    for (const std::size_t n_blocks : {1, 2, 31, 100, 1037}) {
      const auto bytes = any_bytes(n_blocks * layout.block_bytes, n_blocks);
      const std::size_t n = n_blocks * layout.block_values;
      Guarded<std::uint8_t> blocks(device, bytes, block_alignment(backend, type));
      Guarded<float> output(device, n, 4);
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(
          dequantize_ggml(encoder, registry, device, blocks.view(), output.view(), {.n_values = n, .ggml_type = type}));
      expect_ok(encoder.commit_and_wait());
      expect_exact(output.read(), reference::decode(type, bytes));
      output.expect_guards_intact();
    }
  });
}

TEST_P(OpDecode, RowsAreGathered) {
  by_every_kernel(Op::EmbeddingGather, [&](const MlxDevice& device, const KernelRegistry& registry) {
    for (const std::uint32_t n_tokens : {1u, 7u, 100u}) {
      const std::uint32_t n_rows = 53, dim = 3 * layout.block_values;
      const auto bytes = any_bytes(std::size_t{n_rows} * 3 * layout.block_bytes, n_tokens);
      const auto ids = Random(n_tokens).ids(n_tokens, n_rows);
      Guarded<std::uint8_t> table(device, bytes, block_alignment(backend, type));
      Guarded<std::uint32_t> tokens(device, ids, 4);
      Guarded<float> output(device, std::size_t{n_tokens} * dim, 4);
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(embedding_gather_ggml(encoder, registry, device, table.view(), tokens.view(), output.view(),
                                      {.n_tokens = n_tokens, .n_rows = n_rows, .dim = dim, .ggml_type = type}));
      expect_ok(encoder.commit_and_wait());
      const auto values = reference::decode(type, bytes);
      std::vector<float> want;
      for (const std::uint32_t id : ids)
        want.insert(want.end(), values.begin() + id * dim, values.begin() + (id + 1) * dim);
      expect_exact(output.read(), want);
      output.expect_guards_intact();
    }
  });
}

TEST_P(OpDecode, IdsOutOfRangeGiveRowsOfNanOrAnError) {
  const std::uint32_t n_rows = 4, dim = layout.block_values;
  const std::vector<std::uint32_t> ids = {1, 4, 3, 0xff000000, 0};
  by_every_kernel(Op::EmbeddingGather, [&](const MlxDevice& device, const KernelRegistry& registry) {
    // A fifth row lies there, but it is none of the table.
    Guarded<std::uint8_t> table(device, encoded(type, Random(5).values(std::size_t{n_rows + 1} * dim)), 0);
    Guarded<float> output(device, ids.size() * dim, 0);
    auto tokens = written_by_device(device, ids);
    const auto gather = [&](CommandEncoder& encoder) {
      return embedding_gather_ggml(encoder, registry, device, table.view(), tokens.view(), output.view(),
                                   {.n_tokens = 5, .n_rows = n_rows, .dim = dim, .ggml_type = type});
    };
    CommandEncoder encoder = device.command_encoder().value();
    expect_ok(gather(encoder));
    expect_ok(encoder.commit_and_wait());
    const auto y = output.read();
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), ids[i / dim] >= n_rows) << "value " << i;

    std::ranges::copy(ids, tokens.view().as_mut_slice<std::uint32_t>().value().begin());
    const auto refused = gather(encoder);
    ASSERT_FALSE(refused.has_value()) << "once the host wrote them, it can be told";
    EXPECT_THAT(refused.error().message, testing::HasSubstr("ids[1] is 4"));
  });
}

}  // namespace
}  // namespace mlx_native::conformance
