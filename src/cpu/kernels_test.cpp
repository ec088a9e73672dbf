// Every row of the CPU's table, of every ISA of this machine, beside plain float64 loops. What crosses backends is
// tested in tests/conformance; here: ISAs that are not preferred, numbers of threads, independence of rows.
#include "cpu/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "args/matmul.h"
#include "core/dialect.h"
#include "cpu/thread_pool.h"
#include "mlx_native/quantize.h"
#include "support/lane.h"
#include "support/numbers.h"
#include "support/random.h"

namespace mlx_native::cpu {
namespace {

using detail::Kernel;
using detail::Op;
using test::Random;
using test::relative_error;

/// The rows of an op by format: what they are given and what must come out is made once for all of a format.
std::map<GgmlType, std::vector<Kernel>> rows_of(Op op) {
  std::map<GgmlType, std::vector<Kernel>> rows;
  for (const Kernel& row : kernels())
    if (row.op == op && test::runs_here(row)) rows[*row.format].push_back(row);
  return rows;
}

/// Runs a kernel with poisoned scratch on `threads` workers.
template <class Args>
void run(const Kernel& kernel, Args args, std::uint32_t threads) {
  std::vector<std::uint64_t> scratch((kernel.scratch_bytes ? kernel.scratch_bytes(&args) : 0) / 8 + 8, ~0ull);
  args.scratch = reinterpret_cast<std::uint8_t*>(scratch.data());
  ThreadPool pool(threads);
  pool.run([&](Team& team) { kernel.entry(&args, &team); });
}

/// Weights of `n` rows of `k` values, as blocks and as what they decode to.
struct Weights {
  std::vector<std::uint8_t> blocks;
  std::vector<float> values;

  Weights(GgmlType type, std::span<const float> from)
      : blocks(quantize(type, from).value()), values(dequantize(type, blocks).value()) {}
  Weights(GgmlType type, std::size_t count, std::uint32_t seed) : Weights(type, Random(seed).values(count)) {}
};

std::vector<double> product(std::span<const float> x, std::span<const float> w, std::size_t m, std::size_t n,
                            std::size_t k) {
  std::vector<double> y(m * n);
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t l = 0; l < k; ++l) y[i * n + j] += double{x[i * k + l]} * double{w[j * k + l]};
  return y;
}

std::vector<float> multiply(const Kernel& kernel, const Weights& w, std::span<const float> x, std::uint32_t m,
                            std::uint32_t n, std::uint32_t k, std::uint32_t threads) {
  std::vector<float> y(std::size_t{m} * n, NAN);
  const MatmulArgs args{w.blocks.data(), x.data(), y.data(), nullptr, w.blocks.size() / n, m, n, k};
  run(kernel, args, threads);
  return y;
}

class Products : public testing::TestWithParam<Op> {};
INSTANTIATE_TEST_SUITE_P(Ops, Products, testing::Values(Op::MatVec, Op::MatMat),
                         [](const auto& info) { return std::string(op_name(info.param)); });

TEST_P(Products, KeepTheirBoundOnEveryIsaAndFormat) {
  for (const auto& [format, rows] : rows_of(GetParam())) {
    const bool plain = ggml_layout(format)->block_values == 1;
    for (const std::uint32_t k : plain ? std::vector{1u, 19u, 1031u} : std::vector{256u, 1280u}) {
      const std::uint32_t n = 29;
      const Weights w(format, std::size_t{n} * k, k);
      for (const std::uint32_t m : {1u, 2u, 3u, 7u, 9u, 37u}) {
        if (m > 9 && k > 256) continue;
        if (test::kSlow && (m == 2 || m == 7)) continue;
        const std::vector<float> x = Random(m).values(std::size_t{m} * k);
        const std::vector<double> wanted = product(x, w.values, m, n, k);
        for (const Kernel& kernel : rows)
          EXPECT_LE(relative_error(multiply(kernel, w, x, m, n, k, 2), wanted), error_bound(kernel.accuracy))
              << kernel.name << " m " << m << " k " << k;
      }
    }
  }
}

TEST_P(Products, KeepTheirBoundForXOfAnySizeAndSayWhereItIsNoNumber) {
  const std::uint32_t m = 6, n = test::kSlow ? 5 : 19, k = 512;
  std::vector<float> x = Random(3).values(std::size_t{m} * k);
  const auto row = [&](std::uint32_t i) { return std::span(x).subspan(i * k, k); };
  for (float& v : row(0)) v = std::ldexp(v, -98);
  for (float& v : row(1)) v = std::ldexp(v, 97);
  for (float& v : row(2)) v = std::ldexp(v, 60);
  row(3)[7] = NAN;
  row(4)[k - 1] = -INFINITY;
  for (const auto& [format, rows] : rows_of(GetParam())) {
    const Weights w(format, std::size_t{n} * k, 4);
    for (const Kernel& kernel : rows) {
      const std::vector<float> y = multiply(kernel, w, x, m, n, k, 1);
      for (std::uint32_t i = 0; i < m; ++i) {
        const std::span got(&y[i * n], n);
        if (i == 3 || i == 4)
          EXPECT_TRUE(std::ranges::none_of(got, [](float v) { return std::isfinite(v); }))
              << kernel.name << " row " << i;
        else
          EXPECT_LE(relative_error(got, product(row(i), w.values, 1, n, k)), error_bound(kernel.accuracy))
              << kernel.name << " row " << i;
      }
    }
  }
}

TEST_P(Products, HaveTheSameBitsForAnyThreadsAndNeighbours) {
  const std::uint32_t m = 20, n = 37, k = 1024;
  for (const auto& [format, rows] : rows_of(GetParam())) {
    const Weights w(format, std::size_t{n} * k, 1);
    const std::vector<float> x = Random(2).values(std::size_t{m} * k);
    for (const Kernel& kernel : rows) {
      const std::vector<float> y = multiply(kernel, w, x, m, n, k, 1);
      for (const std::uint32_t threads : {3u, 2u, 5u}) {
        EXPECT_EQ(0, std::memcmp(y.data(), multiply(kernel, w, x, m, n, k, threads).data(), y.size() * sizeof(float)))
            << kernel.name << " threads " << threads;
        if (test::kSlow) break;
      }
      for (const std::uint32_t row : {0u, 3u, 19u}) {
        const std::vector<float> alone = multiply(kernel, w, std::span(x).subspan(row * k, k), 1, n, k, 2);
        EXPECT_EQ(0, std::memcmp(&y[row * n], alone.data(), n * sizeof(float))) << kernel.name << " row " << row;
      }
    }
  }
}

/// Where the f16 factors of a block lie.
struct FactorBytes {
  GgmlType type;
  std::size_t offset, count;
};
constexpr FactorBytes kFactorBytes[] = {{GgmlType::Q4_0, 0, 2},   {GgmlType::Q4_1, 0, 4},   {GgmlType::Q5_0, 0, 2},
                                        {GgmlType::Q5_1, 0, 4},   {GgmlType::Q8_0, 0, 2},   {GgmlType::Q2_K, 80, 4},
                                        {GgmlType::Q3_K, 108, 2}, {GgmlType::Q4_K, 0, 4},   {GgmlType::Q5_K, 0, 4},
                                        {GgmlType::Q6_K, 208, 2}, {GgmlType::IQ4_NL, 0, 2}, {GgmlType::IQ4_XS, 0, 2}};

/// Codes, scales and digits of x at their ends: nothing may saturate or overflow.
TEST_P(Products, AreExactForEveryByteOfABlockAndDigitOfX) {
  const std::uint32_t m = 4, n = 12, k = 768;
  const auto digits = [](int bits, int low) {
    const float most = std::ldexp(127.0f, 2 * bits), low_most = static_cast<float>((low << bits) + low);
    return std::pair(1 - (std::ldexp(1.0f, 2 * bits) + low_most) / most, 1 - low_most / most);
  };
  const auto [a, b] = digits(7, 64);
  const auto [c, d] = digits(8, 128);
  std::vector<float> x(std::size_t{m} * k);
  for (std::uint32_t i = 0; i < k; ++i) {
    const float wide = i % 2 ? a : b, narrow = i % 3 ? c : d;
    x[i] = 1;
    x[k + i] = i / 7 % 2 ? 1.0f : -1.0f;
    x[2 * k + i] = i % 32 == 5 ? 1 : wide;
    x[3 * k + i] = (i % 32 == 9 ? 1 : narrow) * (i / 64 % 2 ? -1.0f : 1.0f);
  }
  for (const auto& [format, rows] : rows_of(GetParam())) {
    const auto* const factors = std::find_if(std::begin(kFactorBytes), std::end(kFactorBytes),
                                             [&](const FactorBytes& f) { return f.type == format; });
    if (factors == std::end(kFactorBytes)) continue;
    Weights w(format, std::size_t{n} * k, 8);
    const std::size_t block = ggml_layout(format)->block_bytes, of_row = w.blocks.size() / n;
    const std::vector<std::uint8_t> random = Random(9).bytes(w.blocks.size());
    for (std::size_t i = 0; i < w.blocks.size(); ++i) {
      constexpr std::uint8_t kEnds[] = {0xff, 0x00, 0x80, 0x7f, 0xf0, 0x0f};
      if (i % block - factors->offset >= factors->count)
        w.blocks[i] = i / of_row < std::size(kEnds) ? kEnds[i / of_row] : random[i];
    }
    w.values = dequantize(format, w.blocks).value();
    const std::vector<double> wanted = product(x, w.values, m, n, k);
    double most = 0;
    for (const float v : w.values) most = std::max(most, std::abs(double{v}));
    for (const Kernel& kernel : rows) {
      const std::vector<float> y = multiply(kernel, w, x, m, n, k, 1);
      for (std::uint32_t i = 0; i < m; ++i)
        for (std::uint32_t j = 0; j < n; ++j) {
          double size = 1e-2 * most * k;  // what weights of zero, as codes less their bias, are rounded by
          for (std::uint32_t l = 0; l < k; ++l) size += std::abs(double{x[i * k + l]} * double{w.values[j * k + l]});
          // The first rows of x are exact in one digit; so is the bound of sums in f32, but for offsets.
          const double bound = i < 2 || kernel.accuracy == Precision::Full ? 4e-6 : error_bound(kernel.accuracy);
          ASSERT_NEAR(y[i * n + j], wanted[i * n + j], bound * size) << kernel.name << " x " << i << " w " << j;
        }
    }
  }
}

/// To nearest, ties to even.
float to_bfloat(float value) {
  const std::uint32_t bits = float_to_bits(value);
  return bits_to_float((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

TEST_P(Products, InBfloatsRoundTheFactorsAndAreElseExact) {
  const std::uint32_t m = 7, n = 21, k = 77;
  // Odd numbers of nine bits, half of them in the middle of two bfloat16s: all sums are integers below 2^24.
  const auto odd = [](std::size_t count, std::uint32_t seed) {
    std::vector<float> values = Random(seed).values(count);
    for (float& v : values) v = std::copysign(257 + 2 * std::fmod(std::floor(std::abs(v) * 1000), 127.0f), v);
    return values;
  };
  const std::vector<float> x = odd(std::size_t{m} * k, 2);
  std::vector<float> rounded_x = x;
  for (float& v : rounded_x) v = to_bfloat(v);
  EXPECT_NE(rounded_x, x);
  int found = 0;
  for (const auto& [format, rows] : rows_of(GetParam()))
    for (const Kernel& kernel : rows) {
      if (!kernel.name.starts_with("cpu.avx512_bf16.")) continue;
      ++found;
      const Weights w(format, odd(std::size_t{n} * k, 1));
      std::vector<float> rounded_w = w.values;
      for (float& v : rounded_w) v = to_bfloat(v);
      const std::vector<float> y = multiply(kernel, w, x, m, n, k, 2);
      EXPECT_EQ(std::vector<double>(y.begin(), y.end()), product(rounded_x, rounded_w, m, n, k)) << kernel.name;
    }
  if (found == 0) GTEST_SKIP() << "this processor multiplies no bfloat16s";
}

TEST(LongRows, AreMultipliedInPartsWithTheSameBits) {
  // A row of x fits L1 as it is prepared, three do not; the last step of a row is not whole.
  const std::uint32_t m = 3, n = 40, k = 33 * 256;
  for (const auto& [format, rows] : rows_of(Op::MatVec)) {
    const Weights w(format, std::size_t{n} * k, 6);
    const std::vector<float> x = Random(7).values(std::size_t{m} * k);
    const std::vector<double> wanted = product(x, w.values, m, n, k);
    for (const Kernel& kernel : rows) {
      if (kernel.name.find("_row_") == std::string::npos) continue;
      const std::vector<float> y = multiply(kernel, w, x, m, n, k, 1);
      EXPECT_LE(relative_error(y, wanted), error_bound(kernel.accuracy)) << kernel.name;
      for (std::uint32_t row = 0; row < m; ++row) {
        const std::vector<float> alone = multiply(kernel, w, std::span(x).subspan(row * k, k), 1, n, k, 2);
        EXPECT_EQ(0, std::memcmp(&y[row * n], alone.data(), n * sizeof(float))) << kernel.name << " row " << row;
      }
    }
  }
}

class RoutedProducts : public testing::TestWithParam<Op> {};
INSTANTIATE_TEST_SUITE_P(Ops, RoutedProducts, testing::Values(Op::MatVecId, Op::MatMatId),
                         [](const auto& info) { return std::string(op_name(info.param)); });

TEST_P(RoutedProducts, TakeTheirExpertsWithDuplicatesAndBadIds) {
  const std::uint32_t experts = 5, n = 13, k = 512, top_k = 3, tokens = 11;
  const std::vector<float> x = Random(4).values(std::size_t{tokens} * k);
  std::vector<std::uint32_t> ids = Random(5).ids(tokens * top_k, 4);  // expert 4 has no rows
  ids[3] = ids[4] = 2;
  ids[7] = experts;
  ids[32] = ~0u;
  for (const auto& [format, rows] : rows_of(GetParam())) {
    const Weights w(format, std::size_t{experts} * n * k, 3);
    const std::size_t stride = w.blocks.size() / experts;
    std::vector<std::vector<double>> wanted(ids.size());
    for (std::size_t pair = 0; pair < ids.size(); ++pair)
      if (ids[pair] < experts)
        wanted[pair] =
            product(std::span(x).subspan(pair / top_k * k, k),
                    std::span(w.values).subspan(std::size_t{ids[pair]} * n * k, std::size_t{n} * k), 1, n, k);
    for (const Kernel& kernel : rows) {
      std::vector<float> y(ids.size() * n, 0);
      run(kernel,
          MatmulIdArgs{w.blocks.data(), x.data(), ids.data(), y.data(), nullptr, stride / n, stride, tokens, top_k, n,
                       k, experts},
          3);
      for (std::size_t pair = 0; pair < ids.size(); ++pair) {
        const std::span<const float> got = std::span(y).subspan(pair * n, n);
        if (wanted[pair].empty()) {
          for (const float v : got) EXPECT_TRUE(std::isnan(v)) << kernel.name << " pair " << pair;
        } else {
          EXPECT_LE(relative_error(got, wanted[pair]), error_bound(kernel.accuracy)) << kernel.name << " pair " << pair;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mlx_native::cpu
