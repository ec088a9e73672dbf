// The common GPU kernels on every GPU of the machine, the emulator included, against float64.
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <cmath>

#include "args/embedding.h"
#include "args/matmul.h"
#include "args/norm.h"
#include "formats/list.h"
#include "runtime/access.h"
#include "support/backends.h"
#include "support/numbers.h"
#include "support/random.h"

namespace mlx_native {
namespace {

using detail::BufferAccess;
using detail::Op;
using test::Random;
using test::relative_error;

template <class T>
const T* in(const MlxBuffer& buffer) {
  return reinterpret_cast<const T*>(BufferAccess::address(buffer));
}
template <class T>
T* out(const MlxBuffer& buffer) {
  return reinterpret_cast<T*>(BufferAccess::address(buffer));
}

class GpuKernels : public testing::TestWithParam<Backend> {
 protected:
  /// Of products: the common kernels are as good as f32; CUDA's own keep the contract.
  double bound() const { return GetParam() == Backend::Cuda ? 3e-5 : 2e-6; }
  template <class T>
  MlxBuffer upload(DType dtype, std::span<const T> values) const {
    MlxBuffer buffer = device.alloc_buffer(values.size_bytes(), dtype, {values.size()}).value();
    std::ranges::copy(values, buffer.as_mut_slice<T>().value().begin());
    return buffer;
  }
  MlxBuffer poisoned(std::size_t n) const { return upload<float>(DType::F32, std::vector<float>(n, std::nanf(""))); }
  template <class Args>
  void run(Op op, std::optional<GgmlType> format, const Args& args, std::span<const MlxBuffer> reads,
           const MlxBuffer& write) {
    CommandEncoder encoder = device.command_encoder().value();
    std::vector<detail::Use> uses{BufferAccess::use(write, true)};
    for (const MlxBuffer& read : reads) uses.push_back(BufferAccess::use(read, false));
    auto kernel = detail::RegistryAccess::select(registry, device, op, format, Precision::Full, &args);
    ASSERT_TRUE(kernel.has_value()) << kernel.error().message;
    const auto added = detail::EncoderAccess::commands(encoder).add(*kernel, std::as_bytes(std::span(&args, 1)), uses);
    ASSERT_TRUE(added.has_value()) << added.error().message;
    const auto ran = encoder.commit_and_wait();
    ASSERT_TRUE(ran.has_value()) << ran.error().message;
  }

  MlxDevice device = MlxDevice::create(GetParam()).value();
  KernelRegistry registry;
};
MLXN_ON_GPUS(GpuKernels);

/// n rows of k values in blocks, and their exact values.
struct Weights {
  Weights(GgmlType type, std::uint32_t n, std::uint32_t k, std::uint32_t seed)
      : blocks(quantize(type, Random(seed).values(std::size_t{n} * k)).value()),
        values(dequantize(type, blocks).value()),
        row_bytes(blocks.size() / n) {}
  std::vector<std::uint8_t> blocks;
  std::vector<float> values;
  std::uint64_t row_bytes;
};

double dot(std::span<const float> w, std::span<const float> x) {
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) sum += double(w[i]) * x[i];
  return sum;
}

struct Shape {
  std::uint32_t m, n, k;
};

TEST_P(GpuKernels, MatVecOfEveryFormatIsFullPrecision) {
  for (const GgmlType type : weight_formats())
    for (const Shape s : {Shape{1, 1, 256}, {1, 37, 768}, {2, 16, 512}, {3, 5, 2304}, {7, 33, 256}, {1, 3, 4608}}) {
      SCOPED_TRACE(testing::Message() << ggml_type_name(type) << " " << s.m << " x " << s.n << " x " << s.k);
      const Weights w(type, s.n, s.k, s.n);
      const std::vector<float> x = Random(7).values(std::size_t{s.m} * s.k);
      std::vector<double> want;
      for (std::uint32_t m = 0; m < s.m; ++m)
        for (std::uint32_t n = 0; n < s.n; ++n)
          want.push_back(dot(std::span(w.values).subspan(std::size_t{n} * s.k, s.k),
                             std::span(x).subspan(std::size_t{m} * s.k, s.k)));
      const MlxBuffer weight = upload<std::uint8_t>(DType::U8, w.blocks), input = upload<float>(DType::F32, x);
      const MlxBuffer output = poisoned(want.size());
      run(Op::MatVec, type,
          MatmulArgs{.weight = in<std::uint8_t>(weight),
                     .input = in<float>(input),
                     .output = out<float>(output),
                     .row_bytes = w.row_bytes,
                     .m = s.m,
                     .n = s.n,
                     .k = s.k},
          std::array{weight, input}, output);
      EXPECT_LT(relative_error(output.as_slice<float>().value(), want), bound());
    }
}

TEST_P(GpuKernels, PlainMatVecTakesAnyK) {
  for (const std::uint32_t k : {1u, 31u, 127u, 4097u, 4227u}) {
    const Weights w(GgmlType::F16, 19, k, k);
    const std::vector<float> x = Random(3).values(std::size_t{5} * k);
    std::vector<double> want;
    for (int m = 0; m < 5; ++m)
      for (int n = 0; n < 19; ++n)
        want.push_back(dot(std::span(w.values).subspan(std::size_t(n) * k, k), std::span(x).subspan(m * k, k)));
    const MlxBuffer weight = upload<std::uint8_t>(DType::U8, w.blocks), input = upload<float>(DType::F32, x);
    const MlxBuffer output = poisoned(want.size());
    run(Op::MatVec, GgmlType::F16,
        MatmulArgs{.weight = in<std::uint8_t>(weight),
                   .input = in<float>(input),
                   .output = out<float>(output),
                   .row_bytes = w.row_bytes,
                   .m = 5,
                   .n = 19,
                   .k = k},
        std::array{weight, input}, output);
    EXPECT_LT(relative_error(output.as_slice<float>().value(), want), 2e-6) << k;
  }
}

TEST_P(GpuKernels, ARowDoesNotDependOnItsNeighbours) {
  const Weights w(GgmlType::Q4_K, 20, 5120, 1);
  const std::vector<float> x = Random(2).values(std::size_t{8} * 5120);
  const MlxBuffer weight = upload<std::uint8_t>(DType::U8, w.blocks), input = upload<float>(DType::F32, x);
  // Within one family of kernels.
  for (const auto& rows : {std::vector{1u, 2u}, {3u, 4u}, {5u, 6u, 8u}}) {
    std::vector<float> first;
    for (const std::uint32_t m : rows) {
      const MlxBuffer output = poisoned(std::size_t{m} * 20);
      run(Op::MatVec, GgmlType::Q4_K,
          MatmulArgs{.weight = in<std::uint8_t>(weight),
                     .input = in<float>(input),
                     .output = out<float>(output),
                     .row_bytes = w.row_bytes,
                     .m = m,
                     .n = 20,
                     .k = 5120},
          std::array{weight, input}, output);
      const auto y = output.as_slice<float>().value();
      const std::vector<float> row(y.begin(), y.begin() + 20);
      if (first.empty()) first = row;
      EXPECT_EQ(row, first) << "of " << m;
    }
  }
}

TEST_P(GpuKernels, RoutedMatVecAndNaNForUnknownExperts) {
  constexpr std::uint32_t kTokens = 3, kTopK = 2, kN = 21, kK = 512, kExperts = 4;
  for (const GgmlType type : weight_formats()) {
    SCOPED_TRACE(ggml_type_name(type));
    const Weights w(type, kExperts * kN, kK, 5);
    const std::vector<float> x = Random(6).values(kTokens * kK);
    const std::vector<std::uint32_t> ids{3, 3, 0, 4, 0xffffffffu, 2};
    const MlxBuffer weight = upload<std::uint8_t>(DType::U8, w.blocks), input = upload<float>(DType::F32, x);
    const MlxBuffer routes = upload<std::uint32_t>(DType::U32, ids);
    const MlxBuffer output = upload<float>(DType::F32, std::vector<float>(ids.size() * kN, 12345.0f));
    run(Op::MatVecId, type,
        MatmulIdArgs{.weight = in<std::uint8_t>(weight),
                     .input = in<float>(input),
                     .ids = in<std::uint32_t>(routes),
                     .output = out<float>(output),
                     .row_bytes = w.row_bytes,
                     .expert_stride = w.row_bytes * kN,
                     .n_tokens = kTokens,
                     .top_k = kTopK,
                     .n = kN,
                     .k = kK,
                     .n_experts = kExperts},
        std::array{weight, input, routes}, output);
    const auto y = output.as_slice<float>().value();
    for (std::size_t slot = 0; slot < ids.size(); ++slot) {
      std::vector<double> want;
      for (std::uint32_t n = 0; n < kN; ++n) {
        if (ids[slot] >= kExperts) {
          EXPECT_TRUE(std::isnan(y[slot * kN + n]));
          continue;
        }
        want.push_back(dot(std::span(w.values).subspan((std::size_t{ids[slot]} * kN + n) * kK, kK),
                           std::span(x).subspan(slot / kTopK * kK, kK)));
      }
      if (ids[slot] < kExperts) {
        EXPECT_LT(relative_error(y.subspan(slot * kN, kN), want), bound());
      }
    }
  }
}

TEST_P(GpuKernels, DequantizeAndGatherAreExactForAnyBytes) {
  constexpr std::uint32_t kRows = 5, kDim = 768;
  for (const GgmlType type : weight_formats()) {
    SCOPED_TRACE(ggml_type_name(type));
    const auto bytes = Random(9).bytes(Weights(type, kRows, kDim, 1).blocks.size());
    const std::vector<float> want = dequantize(type, bytes).value();
    const MlxBuffer blocks = upload<std::uint8_t>(DType::U8, bytes);
    const MlxBuffer output = upload<float>(DType::F32, std::vector<float>(want.size(), 12345.0f));
    const auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    run(Op::Dequantize, type,
        DequantizeArgs{.blocks = in<std::uint8_t>(blocks),
                       .output = out<float>(output),
                       .n_blocks = want.size() / ggml_layout(type).value().block_values},
        std::array{blocks}, output);
    const auto y = output.as_slice<float>().value();
    for (std::size_t i = 0; i < want.size(); ++i) ASSERT_TRUE(same(y[i], want[i])) << i;

    const std::vector<std::uint32_t> ids{4, 0, 5, 0xffffffffu, 4};
    const MlxBuffer routes = upload<std::uint32_t>(DType::U32, ids);
    const MlxBuffer rows = upload<float>(DType::F32, std::vector<float>(ids.size() * kDim, 12345.0f));
    run(Op::EmbeddingGather, type,
        EmbeddingArgs{.table = in<std::uint8_t>(blocks),
                      .ids = in<std::uint32_t>(routes),
                      .output = out<float>(rows),
                      .row_bytes = bytes.size() / kRows,
                      .n_tokens = static_cast<std::uint32_t>(ids.size()),
                      .n_rows = kRows,
                      .dim = kDim},
        std::array{blocks, routes}, rows);
    const auto r = rows.as_slice<float>().value();
    for (std::size_t t = 0; t < ids.size(); ++t)
      for (std::size_t i = 0; i < kDim; ++i)
        ASSERT_TRUE(same(r[t * kDim + i], ids[t] < kRows ? want[ids[t] * kDim + i] : std::nanf(""))) << t << " " << i;
  }
}

TEST_P(GpuKernels, RmsNormKeepsItsBound) {
  for (const auto& [rows, dim] : {std::pair{1u, 1u}, {13u, 128u}, {1u, 513u}, {3u, 4096u}, {9u, 77u}}) {
    const std::vector<float> x = Random(dim).values(std::size_t{rows} * dim), w = Random(4).values(dim);
    MlxBuffer buffer = upload<float>(DType::F32, x);
    const MlxBuffer weight = upload<float>(DType::F32, w);
    run(Op::RmsNorm, {},
        RmsNormArgs{.input = in<float>(buffer),
                    .weight = in<float>(weight),
                    .output = out<float>(buffer),
                    .rows = rows,
                    .dim = dim,
                    .eps = 1e-5f},
        std::array{weight}, buffer);
    const auto y = buffer.as_slice<float>().value();
    for (std::size_t row = 0; row < rows; ++row) {
      const auto xs = std::span(x).subspan(row * dim, dim);
      const double scale = 1 / std::sqrt(dot(xs, xs) / dim + double(1e-5f));
      for (std::size_t i = 0; i < dim; ++i)
        ASSERT_NEAR(y[row * dim + i] / (xs[i] * scale * w[i]), 1, 1e-6) << rows << "x" << dim << " " << row << " " << i;
    }
  }
}

}  // namespace
}  // namespace mlx_native
