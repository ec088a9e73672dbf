// quantized_matmul_id_ggml and dispatch_id_mm_for_test against float64.
#include <fmt/format.h>

#include "args/matmul.h"
#include "conformance/conformance.h"
#include "reference/matmul.h"

namespace mlx_native::conformance {
namespace {

struct Problem {
  std::uint32_t n_tokens, top_k, n_experts, n, k;
  std::uint32_t padding = 0;  // between experts, in blocks
  Data data = Data::Normal;
  std::size_t x_at = 16;  // bytes behind a multiple of as many as a kernel may ask for
};

struct Operands {
  std::vector<float> x;
  std::vector<std::uint8_t> w;
  std::vector<std::uint32_t> ids;
  std::vector<double> want;
  std::uint64_t stride;
};

class OpMatmulId : public testing::TestWithParam<std::tuple<Backend, GgmlType>> {
 protected:
  Backend backend = std::get<0>(GetParam());
  GgmlType type = std::get<1>(GetParam());
  GgmlLayout layout = *ggml_layout(type);
  MlxDevice device = MlxDevice::create(backend).value();

  void SetUp() override { ASSERT_FALSE(kernels().empty()); }

  std::vector<double> product(const Problem& p, const Operands& o) const {
    // The last expert ends without padding; decode wants whole blocks, and that is what there is.
    const std::size_t stride = o.stride / layout.block_bytes * layout.block_values;
    return reference::matmul_id(o.x, reference::decode(type, o.w), o.ids, p.top_k, p.n, p.k, p.n_experts, stride);
  }
  /// 16 blocks of padding keep every format's alignment.
  std::uint64_t stride_of(const Problem& p) const {
    return (std::uint64_t{p.n} * p.k / layout.block_values + p.padding) * layout.block_bytes;
  }
  std::size_t weight_at(const Problem& p) const { return p.n % 2 ? block_alignment(backend, type) : 16; }
  Operands make(const Problem& p) const {
    Random random(p.n_tokens * 1000003ull + p.top_k * 10007 + p.n_experts * 101 + p.n);
    Operands o;
    o.x = random.values(std::size_t{p.n_tokens} * p.k, p.data);
    o.stride = stride_of(p);
    const auto expert = std::size_t{p.n} * p.k;
    for (std::uint32_t e = 0; e < p.n_experts; ++e) {
      const auto blocks = encoded(type, random.values(expert, p.data));
      o.w.resize(e * o.stride, 0xff);
      o.w.insert(o.w.end(), blocks.begin(), blocks.end());
    }
    o.ids = random.ids(std::size_t{p.n_tokens} * p.top_k, p.n_experts);
    o.want = product(p, o);
    return o;
  }

  using OpFunction = decltype(&quantized_matmul_id_ggml);
  std::vector<float> run(const MlxDevice& on, const KernelRegistry& registry, const Problem& p, const Operands& o,
                         std::string* ran = nullptr, OpFunction op = quantized_matmul_id_ggml) const {
    Guarded<std::uint32_t> ids(on, o.ids, 4);
    return run_with(on, registry, p, o, ids.view(), ran, op);
  }
  std::vector<float> run_with(const MlxDevice& on, const KernelRegistry& registry, const Problem& p, const Operands& o,
                              const MlxBuffer& ids, std::string* ran = nullptr,
                              OpFunction op = quantized_matmul_id_ggml) const {
    Guarded<float> input(on, o.x, p.x_at);
    Guarded<std::uint8_t> weight(on, o.w, weight_at(p));
    Guarded<float> output(on, o.ids.size() * p.n, 4);
    CommandEncoder encoder = on.command_encoder().value();
    const auto called = op(encoder, registry, on, input.view(), weight.view(), ids, output.view(),
                           {.n_tokens = p.n_tokens,
                            .top_k = p.top_k,
                            .n = p.n,
                            .k = p.k,
                            .n_experts = p.n_experts,
                            .expert_stride = o.stride,
                            .ggml_type = type,
                            .precision = Precision::Full});
    EXPECT_TRUE(called.has_value()) << called.error().message;
    const auto done = encoder.commit_and_wait();
    EXPECT_TRUE(done.has_value()) << done.error().message;
    output.expect_guards_intact();
    if (ran && called) *ran = encoder.dispatched_kernels().back();
    return output.read();
  }

  std::vector<std::shared_ptr<const detail::Kernel>> kernels() const {
    auto all = test::kernels_of(backend);
    std::erase_if(all, [&](const auto& kernel) {
      return kernel->format != type || (kernel->op != Op::MatVecId && kernel->op != Op::MatMatId);
    });
    return all;
  }
  bool supports(const detail::Kernel& kernel, const Problem& p) const {
    // Of addresses a kernel asks for the alignment.
    const MatmulIdArgs args{.weight = reinterpret_cast<const std::uint8_t*>(weight_at(p)),
                            .input = reinterpret_cast<const float*>(p.x_at),
                            .row_bytes = p.k / layout.block_values * layout.block_bytes,
                            .expert_stride = stride_of(p),
                            .n_tokens = p.n_tokens,
                            .top_k = p.top_k,
                            .n = p.n,
                            .k = p.k,
                            .n_experts = p.n_experts};
    return !kernel.supports || kernel.supports(&args);
  }
  /// Calls check(registry, kernel) with every kernel forced that supports the problem.
  void by_every_kernel(const Problem& p,
                       const std::function<void(const KernelRegistry&, const detail::Kernel&)>& check) const {
    for (const auto& kernel : kernels()) {
      if (!supports(*kernel, p)) continue;
      SCOPED_TRACE(fmt::format("{}: {} tokens, top {} of {}, n {} k {}", kernel->name, p.n_tokens, p.top_k, p.n_experts,
                               p.n, p.k));
      KernelRegistry registry;
      ASSERT_TRUE(registry.force(kernel->name).has_value());
      check(registry, *kernel);
    }
  }
  void expect_products(const Problem& p) const {
    const Operands o = make(p);
    expect_products(p, o);
  }
  void expect_products(const Problem& p, const Operands& o) const {
    by_every_kernel(p, [&](const KernelRegistry& registry, const detail::Kernel& kernel) {
      EXPECT_LE(relative_error(run(device, registry, p, o), o.want), bound(kernel.accuracy, p.data));
    });
  }
};

INSTANTIATE_TEST_SUITE_P(Devices, OpMatmulId,
                         testing::Combine(testing::ValuesIn(available_backends()), testing::ValuesIn(weight_formats())),
                         [](const auto& info) {
                           return fmt::format("{}_{}", backend_name(std::get<0>(info.param)),
                                              ggml_type_name(std::get<1>(info.param)));
                         });

TEST_P(OpMatmulId, AnyTopK) {
  const std::uint32_t step = small(backend) ? 8 : 1;
  for (std::uint32_t top_k = 1; top_k <= 17; top_k += step)
    expect_products({5, top_k, 19, 3, 256, 0, {}, top_k % 4 ? 20u : 16u});
}

TEST_P(OpMatmulId, AnyNumberOfExperts) {
  for (const std::uint32_t experts : {1u, 2u, 33u, 300u}) expect_products({7, 4, experts, 2, 256});
}

TEST_P(OpMatmulId, ShapesStridesAndData) {
  for (const Data data : kAllData) expect_products({3, 2, 4, 17, 512, 16, data});
  expect_products({3, 2, 4, 18, 2048, 16, Data::Outliers});
  expect_products({3, 2, 4, 18, 2048, 16, Data::Outliers, 20});
  if (test::kSlow && backend != Backend::Emulator) expect_products({100, 3, 5, 33, 512});
  if (small(backend)) return;
  expect_products({MM_ID_ROUTING_THRESHOLD + 1, 8, 16, 19, 768, 16, Data::Outliers});
  expect_products({100, 3, 5, 33, 512});
  // Experts of 8 to 300 rows each, and some without any; rows of weights beyond a tile's.
  expect_products({150, 2, 40, 130, 512});
  expect_products({90, 8, 16, 64, 768});
  expect_products({200, 5, 5, 200, 256});
  expect_products({300, 1, 1000, 5, 256});
  expect_products({1, 8, 64, 9, 2048, 32});
  if (backend != Backend::Cuda) return;
  expect_products({60, 8, 16, 72, 512});
  expect_products({300, 4, 40, 72, 512});  // slots that one group routes
  // For kernels that want rows and experts at multiples of 16 bytes.
  expect_products({1, 8, 64, 50, 2048});
  expect_products({32, 8, 16, 34, 2048, 16, Data::Outliers});
  expect_products({9, 7, 11, 130, 4096});
  expect_products({32, 8, 16, 400, 1024, 16, Data::Outliers});  // enough of them for the tensor cores
  // Rows that are at no such multiples, but 16 of them together are.
  expect_products({1, 8, 64, 48, 768, 0, Data::Outliers});
  expect_products({9, 7, 11, 34, 768, 10});
  expect_products({2, 3, 5, 130, 1792, 2});
}

TEST_P(OpMatmulId, OneExpertMayTakeEveryRow) {
  const Problem p{40, 4, 9, 6, 256, 0, {}, 20};
  Operands o = make(p);
  std::ranges::fill(o.ids, 8u);
  o.want = product(p, o);
  expect_products(p, o);
}

TEST_P(OpMatmulId, MoreTokensThanAGridIsWide) {
  if (type != GgmlType::Q8_0) GTEST_SKIP() << "how tokens are dealt out does not depend on the format";
  if (test::kSlow) GTEST_SKIP() << "what it runs, the other tests run too";
  expect_products({65'600, 1, 3, 1, layout.block_values});
}

TEST_P(OpMatmulId, TheThresholdDecidesBetweenTheKernels) {
  const auto has = [&](Op op) { return detail::RegistryAccess::first(backend, op, type) != nullptr; };
  if (!has(Op::MatVecId) || !has(Op::MatMatId)) GTEST_SKIP() << "one kind of kernel only";
  const KernelRegistry registry;
  const auto op_of = [&](std::uint32_t n_tokens, OpFunction op) {
    const Problem p{n_tokens, 2, 4, 3, 256};
    const Operands o = make(p);
    std::string ran;
    EXPECT_LE(relative_error(run(device, registry, p, o, &ran, op), o.want), 3e-5);
    return registry.get(ran, device).value()->op;
  };
  EXPECT_EQ(op_of(MM_ID_ROUTING_THRESHOLD, quantized_matmul_id_ggml), Op::MatVecId);
  EXPECT_EQ(op_of(MM_ID_ROUTING_THRESHOLD + 1, quantized_matmul_id_ggml), Op::MatMatId);
  EXPECT_EQ(op_of(1, dispatch_id_mm_for_test), Op::MatMatId);
}

TEST_P(OpMatmulId, SameBitsForAnyThreadsAndAnyBatch) {
  // The second is for kernels that want rows at multiples of 16 bytes.
  for (const Problem& p : {Problem{37, 3, 6, 21, 512, 0, Data::Outliers}, {37, 3, 6, 22, 2048, 0, Data::Outliers}}) {
    const Operands o = make(p);
    const auto devices = devices_of(backend);
    by_every_kernel(p, [&](const KernelRegistry& registry, const detail::Kernel& kernel) {
      const auto all = run(devices[0], registry, p, o);
      for (const MlxDevice& on : devices) EXPECT_TRUE(same_bits(run(on, registry, p, o), all)) << on.parallelism();
      Problem last = p;
      for (const std::uint32_t tokens : {1u, 2u}) {
        last.n_tokens = tokens;
        if (!supports(kernel, last)) continue;
        const auto of_x = static_cast<std::ptrdiff_t>(tokens * p.k),
                   of_ids = static_cast<std::ptrdiff_t>(tokens * p.top_k);
        const Operands rows{{o.x.end() - of_x, o.x.end()}, o.w, {o.ids.end() - of_ids, o.ids.end()}, {}, o.stride};
        EXPECT_TRUE(same_bits(run(devices.back(), registry, last, rows),
                              std::span(all).last(std::size_t{tokens} * p.top_k * p.n)));
      }
    });
    if (small(backend)) return;
  }
}

TEST_P(OpMatmulId, HostWrittenIdsOutOfRangeAreRefused) {
  const Problem p{2, 2, 3, 4, 256};
  Operands o = make(p);
  o.ids[2] = 3;
  Guarded<float> input(device, o.x, 0), output(device, 16, 0);
  Guarded<std::uint8_t> weight(device, o.w, 0);
  Guarded<std::uint32_t> ids(device, o.ids, 0);
  CommandEncoder encoder = device.command_encoder().value();
  const auto result = quantized_matmul_id_ggml(
      encoder, {}, device, input.view(), weight.view(), ids.view(), output.view(),
      {.n_tokens = 2, .top_k = 2, .n = 4, .k = 256, .n_experts = 3, .expert_stride = o.stride, .ggml_type = type});
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().kind, ErrorKind::InvalidArgument);
  EXPECT_THAT(result.error().message, testing::HasSubstr("ids[2] is 3"));
  EXPECT_EQ(encoder.dispatch_count(), 0u);
}

TEST_P(OpMatmulId, DeviceWrittenIdsOutOfRangeGiveRowsOfNan) {
  for (Problem p : {Problem{3, 2, 6, 7, 256},
                    {3, 2, 6, 8, 2048},
                    {MM_ID_ROUTING_THRESHOLD + 5, 2, 6, 7, 256},
                    {520, 2, 6, 8, 256}}) {
    Operands o = make(p);
    p.n_experts = 5;  // the weights of a sixth lie there, but it is none
    o.ids[0] = 5;
    o.ids[3] = 0x7f000000;
    o.ids.back() = 0x80000005;
    o.want = product(p, o);
    auto ids = written_by_device(device, o.ids);
    by_every_kernel(p, [&](const KernelRegistry& registry, const detail::Kernel& kernel) {
      auto y = run_with(device, registry, p, o, ids.view());
      auto want = o.want;
      for (std::size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(std::isnan(y[i]), o.ids[i / p.n] >= 5) << "row " << i / p.n << ", column " << i % p.n;
        if (std::isnan(y[i])) y[i] = 0, want[i] = 0;
      }
      EXPECT_LE(relative_error(y, want), bound(kernel.accuracy));
    });
  }
}

}  // namespace
}  // namespace mlx_native::conformance
