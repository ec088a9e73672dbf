// quantized_matmul_ggml and dispatch_mm_for_test against float64.
#include "args/matmul.h"

#include <fmt/format.h>

#include <algorithm>

#include "conformance/conformance.h"
#include "reference/matmul.h"

namespace mlx_native::conformance {
namespace {

struct Problem {
  std::uint32_t m, n, k;
  Data data = Data::Normal;
  std::size_t x_at = 16;  // bytes behind a multiple of as many as a kernel may ask for
};

class OpMatmul : public testing::TestWithParam<std::tuple<Backend, GgmlType>> {
 protected:
  Backend backend = std::get<0>(GetParam());
  GgmlType type = std::get<1>(GetParam());
  std::uint32_t block = ggml_layout(type)->block_values;
  MlxDevice device = MlxDevice::create(backend).value();

  struct Operands {
    std::vector<float> x;
    std::vector<std::uint8_t> w;
    std::vector<double> want;
  };
  Operands make(const Problem& p) const {
    Random random(p.m * 1000003ull + p.n * 1009 + p.k + static_cast<unsigned>(p.data));
    Operands o{random.values(std::size_t{p.m} * p.k, p.data),
               encoded(type, random.values(std::size_t{p.n} * p.k, p.data)),
               {}};
    o.want = reference::matmul(o.x, reference::decode(type, o.w), p.m, p.n, p.k);
    return o;
  }

  using OpFunction = decltype(&quantized_matmul_ggml);
  std::vector<float> run(const MlxDevice& on, const KernelRegistry& registry, const Problem& p, const Operands& o,
                         std::string* ran = nullptr, OpFunction op = quantized_matmul_ggml,
                         Precision precision = Precision::Full) const {
    Guarded<float> input(on, o.x, p.x_at);
    Guarded<std::uint8_t> weight(on, o.w, weight_at(p));
    Guarded<float> output(on, std::size_t{p.m} * p.n, 12);
    CommandEncoder encoder = on.command_encoder().value();
    const auto called = op(encoder, registry, on, input.view(), weight.view(), output.view(),
                           {.m = p.m, .n = p.n, .k = p.k, .ggml_type = type, .precision = precision});
    EXPECT_TRUE(called.has_value()) << called.error().message;
    const auto done = encoder.commit_and_wait();
    EXPECT_TRUE(done.has_value()) << done.error().message;
    output.expect_guards_intact();
    if (ran && called) *ran = encoder.dispatched_kernels().at(0);
    return output.read();
  }

  /// Kernels of both ops that support the problem.
  std::vector<std::shared_ptr<const detail::Kernel>> kernels() const {
    auto all = test::kernels_of(backend);
    std::erase_if(all, [&](const auto& kernel) {
      return kernel->format != type || (kernel->op != Op::MatVec && kernel->op != Op::MatMat);
    });
    return all;
  }
  /// Every other problem's weights are no better aligned than they must be.
  std::size_t weight_at(const Problem& p) const { return p.n % 2 ? block_alignment(backend, type) : 16; }
  bool supports(const detail::Kernel& kernel, const Problem& p) const {
    // Of addresses a kernel asks for the alignment.
    MatmulArgs args{};
    args.input = reinterpret_cast<const float*>(p.x_at);
    args.weight = reinterpret_cast<const std::uint8_t*>(weight_at(p));
    args.row_bytes = p.k / block * ggml_layout(type)->block_bytes;
    args.m = p.m, args.n = p.n, args.k = p.k;
    return !kernel.supports || kernel.supports(&args);
  }
  std::vector<Problem> problems() const {
    const std::uint32_t k = block == 1 ? 1 : block;
    std::vector<Problem> all = {{1, 1, k}, {1, 3, 2 * k, {}, 4}, {2, 17, 3 * k},
                                {7, 5, k}, {8, 9, 5 * k, {}, 4}, {9, 33, 2 * k, {}, 12}};
    for (const Data data : kAllData) all.push_back({3, 19, 512, data});
    if (test::kSlow && backend != Backend::Emulator) all.push_back({33, 100, 768, Data::Outliers});
    if (small(backend)) return all;
    for (const std::uint32_t m : {1u, 4u, 8u, 9u, 31u, 33u, 64u, 100u})
      for (const std::uint32_t n : {64u, 100u})
        all.push_back({m, n, 768, kAllData[m % 4], m % 2 && n == 64 ? 8u : 16u});
    all.push_back({1, 300, 4096});
    all.push_back({65, 129, 2304, Data::Outliers});
    all.push_back({66, 129, 2304, Data::OneSided});
    all.push_back({512, 131, 768, {}, 4});
    all.push_back({33, 64, 14336});  // sums of a whole row in one accumulator would lose too much
    // Tiles of every size of the tensor cores' kernels, the last ones partly filled.
    if (backend == Backend::Cuda) {
      all.push_back({50, 4000, 256});
      all.push_back({250, 8300, 256});
      all.push_back({500, 8400, 256});
      all.push_back({300, 4100, 512});
      all.push_back({150, 8300, 512});
      all.push_back({6, 8200, 512, Data::Outliers});
    }
    // Clusters of one to eight groups, with parts of a row that are equal or not; whole slabs, and a last one that is
    // not.
    if (std::ranges::any_of(kernels(), [](const auto& kernel) { return kernel->name.starts_with("cuda.box"); })) {
      all.push_back({4, 14340, 512, Data::Outliers});
      all.push_back({3, 7200, 512});
      all.push_back({7, 130, 2816, Data::OneSided});
      all.push_back({8, 38, 14336, Data::Outliers});
      all.push_back({8, 300, 256});
      all.push_back({3, 70, 14336, Data::OneSided});
      all.push_back({2, 102, 14336, Data::Outliers});
      all.push_back({16, 50, 14336, Data::OneSided});
      all.push_back({11, 1030, 1280, Data::Outliers});
      all.push_back({9, 8200, 256});
    }
    if (block == 1)
      for (const std::uint32_t odd : {2u, 7u, 31u, 100u, 257u}) all.push_back({odd, 5, odd});
    return all;
  }
};

INSTANTIATE_TEST_SUITE_P(Devices, OpMatmul,
                         testing::Combine(testing::ValuesIn(available_backends()), testing::ValuesIn(weight_formats())),
                         [](const auto& info) {
                           return fmt::format("{}_{}", backend_name(std::get<0>(info.param)),
                                              ggml_type_name(std::get<1>(info.param)));
                         });

TEST_P(OpMatmul, EveryKernelKeepsItsBound) {
  EXPECT_FALSE(kernels().empty());
  for (const Problem& p : problems()) {
    const Operands o = make(p);
    for (const auto& kernel : kernels()) {
      if (!supports(*kernel, p)) continue;
      SCOPED_TRACE(fmt::format("{} m {} n {} k {} data {}", kernel->name, p.m, p.n, p.k, static_cast<int>(p.data)));
      KernelRegistry registry;
      ASSERT_TRUE(registry.force(kernel->name).has_value());
      std::string ran;
      const auto y = run(device, registry, p, o, &ran);
      EXPECT_EQ(ran, kernel->name);
      ASSERT_LE(relative_error(y, o.want), bound(kernel->accuracy, p.data));
    }
  }
}

TEST_P(OpMatmul, TheChosenKernelKeepsThePrecisionAskedFor) {
  const KernelRegistry registry;
  for (const std::uint32_t m : {1u, MM_ROUTING_THRESHOLD, MM_ROUTING_THRESHOLD + 1}) {
    const Problem p{m, 24, 512};
    const Operands o = make(p);
    std::string ran, half;
    for (const Precision precision : {Precision::Full, Precision::Half, Precision::Int8})
      EXPECT_LE(relative_error(run(device, registry, p, o, nullptr, quantized_matmul_ggml, precision), o.want),
                bound(precision));
    const auto automatic = run(device, registry, p, o, &ran, quantized_matmul_ggml, Precision::Auto);
    EXPECT_LE(relative_error(automatic, o.want), error_bound(Precision::Auto)) << ran;
    if (m == 1) {
      EXPECT_EQ(registry.get(ran, device).value()->accuracy, Precision::Full) << ran;
    } else if (backend == Backend::Cpu) {
      run(device, registry, p, o, &half, quantized_matmul_ggml, Precision::Half);
      EXPECT_EQ(ran, half);
    }
  }
}

TEST_P(OpMatmul, XMayLieAtAnyFloat) {
  for (const std::uint32_t m : {1u, 4u, 16u})
    for (const std::size_t x_at : {4, 8, 12}) {
      const Problem p{m, 24, 512, {}, x_at};
      const Operands o = make(p);
      EXPECT_LE(relative_error(run(device, {}, p, o), o.want), bound(Precision::Full)) << m << " rows at " << x_at;
    }
}

TEST_P(OpMatmul, TheThresholdDecidesBetweenTheKernels) {
  const auto has = [&](Op op) { return detail::RegistryAccess::first(backend, op, type) != nullptr; };
  if (!has(Op::MatVec) || !has(Op::MatMat)) GTEST_SKIP() << "one kind of kernel only";
  const KernelRegistry registry;
  const auto op_of = [&](std::uint32_t m, OpFunction op) {
    const Problem p{m, 8, 256};
    std::string ran;
    run(device, registry, p, make(p), &ran, op);
    return registry.get(ran, device).value()->op;
  };
  EXPECT_EQ(op_of(MM_ROUTING_THRESHOLD, quantized_matmul_ggml), Op::MatVec);
  EXPECT_EQ(op_of(MM_ROUTING_THRESHOLD + 1, quantized_matmul_ggml), Op::MatMat);
  EXPECT_EQ(op_of(1, dispatch_mm_for_test), Op::MatMat);
}

TEST_P(OpMatmul, SameBitsForAnyThreadsAndAnyBatch) {
  // The second is for kernels of very few rows, which may want weights that lie at a multiple of 16.
  std::vector<Problem> whole = {{13, 45, 1024, Data::Outliers}, {4, 46, 1024, Data::Outliers}};
  if (backend == Backend::Cuda) {
    whole.push_back({8, 1030, 2048});  // for those that want more rows
    whole.push_back({16, 46, 4096});
    whole.push_back({2, 46, 14336});  // and for those that want long ones
  }
  const auto devices = devices_of(backend);
  for (const auto& kernel : kernels()) {
    const auto supported =
        std::ranges::find_if(whole, [&](const Problem& problem) { return supports(*kernel, problem); });
    if (supported == whole.end()) continue;
    const Problem& p = *supported;
    const Operands o = make(p);
    SCOPED_TRACE(kernel->name);
    KernelRegistry registry;
    ASSERT_TRUE(registry.force(kernel->name).has_value());
    const auto all = run(devices[0], registry, p, o);
    for (const MlxDevice& on : devices) EXPECT_TRUE(same_bits(run(on, registry, p, o), all)) << on.parallelism();
    for (const std::uint32_t m : {1u, 2u, 4u, 5u, 9u}) {
      const Problem part{m, p.n, p.k, p.data, p.x_at};
      if (m > p.m || !supports(*kernel, part)) continue;
      const std::size_t first = p.m - m;
      const Operands rows{{o.x.begin() + static_cast<std::ptrdiff_t>(first * p.k), o.x.end()}, o.w, {}};
      const auto y = run(devices.back(), registry, part, rows);
      EXPECT_TRUE(same_bits(y, std::span(all).subspan(first * p.n))) << "of the last " << m << " rows";
    }
  }
}

// The tensor cores' kernels pack rows of x, in a product of more tiles than multiprocessors, while they multiply
// others.
TEST_P(OpMatmul, ManyRowsHaveTheBitsOfFew) {
  if (backend != Backend::Cuda) GTEST_SKIP() << "only these kernels have products of many tiles";
  const Problem p{1100, 8448, 2048}, few{300, p.n, p.k};
  constexpr std::uint32_t kPattern = 96;
  const Operands some = make({2, kPattern, p.k});
  std::vector<std::uint8_t> w;
  for (std::uint32_t n = 0; n < p.n; n += kPattern) w.insert(w.end(), some.w.begin(), some.w.end());
  const auto x = Random(7).values(std::size_t{p.m} * p.k, Data::Outliers);
  for (const auto& kernel : kernels()) {
    if (!kernel->name.starts_with("cuda.wgmma") || !supports(*kernel, p)) continue;
    SCOPED_TRACE(kernel->name);
    KernelRegistry registry;
    ASSERT_TRUE(registry.force(kernel->name).has_value());
    const auto all = run(device, registry, p, {x, w, {}});
    for (const std::size_t first : {std::size_t{0}, std::size_t{500}, std::size_t{p.m - few.m}}) {
      const auto rows = x.begin() + static_cast<std::ptrdiff_t>(first * p.k);
      const auto y = run(device, registry, few, {{rows, rows + few.m * p.k}, w, {}});
      EXPECT_TRUE(same_bits(y, std::span(all).subspan(first * p.n, y.size()))) << "from row " << first << " on";
    }
    for (int again = 0; again < 5; ++again) EXPECT_TRUE(same_bits(run(device, registry, p, {x, w, {}}), all));
  }
}

TEST_P(OpMatmul, ProductsOfOneXInOneEncoderAreThoseOfEachAlone) {
  const Problem p{18, 12, 512}, fewer{17, 12, 512};
  const Operands o = make(p);
  std::vector<float> doubled = o.x;
  for (float& value : doubled) value *= 2;
  for (const Precision precision : {Precision::Full, Precision::Half}) {
    const auto alone = [&](const Problem& of, const std::vector<float>& x) {
      return run(device, {}, of, {{x.begin(), x.begin() + of.m * of.k}, o.w, {}}, nullptr, quantized_matmul_ggml,
                 precision);
    };
    Guarded<float> x(device, o.x, p.x_at);
    Guarded<std::uint8_t> weight(device, o.w, weight_at(p));
    std::vector<Guarded<float>> y;
    CommandEncoder encoder = device.command_encoder().value();
    const auto multiply = [&](const Problem& of) {
      expect_ok(quantized_matmul_ggml(encoder, {}, device, x.view(), weight.view(),
                                      y.emplace_back(device, std::size_t{of.m} * of.n, 12).view(),
                                      {.m = of.m, .n = of.n, .k = of.k, .ggml_type = type, .precision = precision}));
    };
    multiply(p);
    multiply(fewer);
    multiply(p);
    expect_ok(elementwise_add(encoder, {}, device, x.view(), x.view(), x.view(), {.rows = p.m, .cols = p.k}));
    multiply(p);
    expect_ok(encoder.commit_and_wait());
    EXPECT_TRUE(same_bits(y[0].read(), alone(p, o.x)));
    EXPECT_TRUE(same_bits(y[1].read(), alone(fewer, o.x)));
    EXPECT_TRUE(same_bits(y[2].read(), alone(p, o.x)));
    EXPECT_TRUE(same_bits(y[3].read(), alone(p, doubled)));
  }
}

class OpMatmulPlain : public OnBackend {};
MLXN_ON_BACKENDS(OpMatmulPlain);

TEST_P(OpMatmulPlain, WeightsMayHaveTheirOwnDtype) {
  const MlxDevice device = MlxDevice::create(GetParam()).value();
  const auto x = Random(1).values(2 * 64), values = Random(2).values(3 * 64);
  for (const auto& [type, dtype] :
       {std::pair{GgmlType::F32, DType::F32}, {GgmlType::F16, DType::F16}, {GgmlType::BF16, DType::BF16}}) {
    const auto w = encoded(type, values);
    Guarded<float> input(device, x, 0), output(device, 6, 0);
    Guarded<std::uint8_t> bytes(device, w, 0);
    CommandEncoder encoder = device.command_encoder().value();
    expect_ok(quantized_matmul_ggml(encoder, {}, device, input.view(), bytes.view().reinterpret(dtype, {3, 64}).value(),
                                    output.view(), {.m = 2, .n = 3, .k = 64, .ggml_type = type}));
    expect_ok(encoder.commit_and_wait());
    EXPECT_LE(relative_error(output.read(), reference::matmul(x, reference::decode(type, w), 2, 3, 64)), 3e-5);
  }
}

}  // namespace
}  // namespace mlx_native::conformance
