// rms_norm, add, mul, silu_mul, gelu.
#include "reference/elementwise.h"

#include "conformance/conformance.h"

namespace mlx_native::conformance {
namespace {

class OpElementwise : public OnBackend {};
MLXN_ON_BACKENDS(OpElementwise);

TEST_P(OpElementwise, RmsNorm) {
  for_each_kernel(Op::RmsNorm, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const auto& [rows, dim] : {std::pair{1u, 1u}, {1, 3}, {3, 17}, {7, 128}, {100, 64}, {5, 1000}, {2, 5120}})
      for (const Data data : kAllData) {
        Random random(rows + dim);
        const auto x = random.values(std::size_t{rows} * dim, data), w = random.values(dim, Data::Outliers);
        const float eps = 1e-6f;
        const auto want = reference::rms_norm(x, w, eps);
        std::vector<float> first;
        for (const MlxDevice& device : devices_of(GetParam())) {
          Guarded<float> input(device, x, 4), weight(device, w, 12), output(device, x.size(), 8);
          CommandEncoder encoder = device.command_encoder().value();
          const RmsNormParams params{.rows = rows, .dim = dim, .eps = eps};
          expect_ok(rms_norm(encoder, registry, device, input.view(), weight.view(), output.view(), params));
          expect_ok(rms_norm(encoder, registry, device, input.view(), weight.view(), input.view(), params));
          expect_ok(encoder.commit_and_wait());
          expect_values(output.read(), want, 1e-6, 1e-30);
          EXPECT_TRUE(same_bits(input.read(), output.read())) << "in place";
          output.expect_guards_intact();
          input.expect_guards_intact();
          if (first.empty()) first = output.read();
          EXPECT_TRUE(same_bits(first, output.read())) << device.parallelism() << " threads";
        }
      }
  });
}

TEST_P(OpElementwise, RmsNormOfZerosAndHugeValues) {
  for_each_kernel(Op::RmsNorm, {}, [&](const KernelRegistry& registry, const std::string&) {
    const MlxDevice device = MlxDevice::create(GetParam()).value();
    std::vector<float> x(3 * 256);
    std::fill_n(x.begin() + 256, 256, 1e15f);
    std::fill_n(x.begin() + 512, 256, -1e-15f);
    Guarded<float> input(device, x, 0), weight(device, std::vector<float>(256, 1.0f), 0), output(device, x.size(), 0);
    CommandEncoder encoder = device.command_encoder().value();
    expect_ok(rms_norm(encoder, registry, device, input.view(), weight.view(), output.view(),
                       {.rows = 3, .dim = 256, .eps = 1e-6f}));
    expect_ok(encoder.commit_and_wait());
    expect_values(output.read(), reference::rms_norm(x, std::vector<float>(256, 1.0f), 1e-6f), 1e-6, 1e-30);
  });
}

TEST_P(OpElementwise, AddAndMulAreExact) {
  for (const bool add : {true, false})
    for_each_kernel(add ? Op::Add : Op::Mul, {}, [&](const KernelRegistry& registry, const std::string&) {
      const auto op = add ? elementwise_add : elementwise_mul;
      for (const auto& [rows, cols] : {std::pair{1u, 1u}, {1, 31}, {17, 3}, {3, 100}, {33, 257}, {100, 64}})
        for (const bool broadcast : {false, true})
          for (const MlxDevice& device : devices_of(GetParam())) {
            Random random(rows * cols);
            const auto a = random.values(std::size_t{rows} * cols, Data::Outliers);
            const auto b = random.values(std::size_t{broadcast ? 1 : rows} * cols);
            Guarded<float> x(device, a, 4), y(device, b, 8), z(device, a.size(), 12);
            CommandEncoder encoder = device.command_encoder().value();
            const ElementwiseParams params{.rows = rows, .cols = cols, .broadcast_b = broadcast};
            expect_ok(op(encoder, registry, device, x.view(), y.view(), z.view(), params));
            expect_ok(op(encoder, registry, device, x.view(), y.view(), x.view(), params));
            expect_ok(encoder.commit_and_wait());
            const auto want = add ? reference::add(a, b) : reference::mul(a, b);
            ASSERT_TRUE(same_bits(z.read(), want)) << rows << " x " << cols << (broadcast ? ", b is a row" : "");
            ASSERT_TRUE(same_bits(x.read(), want)) << "in place";
            z.expect_guards_intact();
            x.expect_guards_intact();
            if (broadcast) continue;
            CommandEncoder again = device.command_encoder().value();
            Guarded<float> fresh(device, a, 4);
            expect_ok(op(again, registry, device, fresh.view(), y.view(), y.view(), params));
            expect_ok(again.commit_and_wait());
            ASSERT_TRUE(same_bits(y.read(), want)) << "into b";
          }
    });
}

/// Both signs, from the tiny to where exp overflows, and what lies beyond.
std::vector<float> wide_values(std::size_t n) {
  auto v = Random(n).values(n);
  for (std::size_t i = 0; i < n; ++i) v[i] *= std::exp2(static_cast<float>(i % 40) - 30);
  for (std::size_t i = 0; i + 8 < n; i += 50) {
    const float special[] = {0.0f, -0.0f, 88.5f, -88.5f, 104.0f, -104.0f, -1e4f, 1e4f};
    std::ranges::copy(special, v.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return v;
}

TEST_P(OpElementwise, SiluMul) {
  for_each_kernel(Op::SiluMul, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const std::size_t n : {1, 3, 17, 100, 257, 5000}) {
      const auto g = wide_values(n), u = Random(7).values(n);
      const auto want = reference::silu_mul(g, u);
      std::vector<float> first;
      for (const MlxDevice& device : devices_of(GetParam())) {
        Guarded<float> gate(device, g, 4), up(device, u, 8), output(device, n, 12);
        CommandEncoder encoder = device.command_encoder().value();
        expect_ok(silu_mul(encoder, registry, device, gate.view(), up.view(), output.view(), {.n = n}));
        expect_ok(silu_mul(encoder, registry, device, gate.view(), up.view(), gate.view(), {.n = n}));
        expect_ok(encoder.commit_and_wait());
        expect_values(output.read(), want, 1e-6, 1e-36);
        output.expect_guards_intact();
        EXPECT_TRUE(same_bits(gate.read(), output.read())) << "in place";
        if (first.empty()) first = output.read();
        EXPECT_TRUE(same_bits(first, output.read())) << device.parallelism() << " threads";
      }
    }
  });
}

TEST_P(OpElementwise, Gelu) {
  for_each_kernel(Op::Gelu, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const GeluKind kind : {GeluKind::Tanh, GeluKind::Erf})
      for (const std::size_t n : {1, 3, 17, 100, 257, 5000}) {
        const auto x = wide_values(n);
        const auto want = kind == GeluKind::Tanh ? reference::gelu_tanh(x) : reference::gelu_erf(x);
        std::vector<float> first;
        for (const MlxDevice& device : devices_of(GetParam())) {
          Guarded<float> input(device, x, 4), output(device, n, 8);
          CommandEncoder encoder = device.command_encoder().value();
          expect_ok(gelu(encoder, registry, device, input.view(), output.view(), {.n = n, .kind = kind}));
          expect_ok(gelu(encoder, registry, device, input.view(), input.view(), {.n = n, .kind = kind}));
          expect_ok(encoder.commit_and_wait());
          expect_values(output.read(), want, 1e-6, 1e-6);
          output.expect_guards_intact();
          EXPECT_TRUE(same_bits(input.read(), output.read())) << "in place";
          if (first.empty()) first = output.read();
          EXPECT_TRUE(same_bits(first, output.read())) << device.parallelism() << " threads";
        }
      }
  });
}

}  // namespace
}  // namespace mlx_native::conformance
