// Commands that run one by one or fused must leave the same bits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "mlx_native/mlx_native.h"
#include "support/backends.h"
#include "support/random.h"

namespace mlx_native::test {

/// Of products: m rows of k by n rows.
struct ProductShape {
  std::uint32_t m, n, k;
  GgmlType type = GgmlType::Q4_K, other = GgmlType::Q6_K;
};

class FusionTest : public testing::TestWithParam<Backend> {
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
    FusionTest& test;
    CommandEncoder encoder;
    bool apart;
    std::vector<MlxBuffer> buffers;

    MlxBuffer values(std::size_t n) { return buffers.emplace_back(test.upload(n)); }
    MlxBuffer weight(GgmlType type, std::size_t n, std::size_t k) { return test.upload_weight(type, n, k); }
    void run(const Result<void>& recorded) {
      expect_ok(recorded);
      test.commit(encoder, apart);
    }
    void norm(const MlxBuffer& x, const MlxBuffer& weight, MlxBuffer& to, const ProductShape& s) {
      run(rms_norm(encoder, test.registry, test.device, x, weight, to, {.rows = s.m, .dim = s.k, .eps = 1e-6f}));
    }
    void product(const MlxBuffer& x, const MlxBuffer& weight, MlxBuffer& to, const ProductShape& s, GgmlType type) {
      run(quantized_matmul_ggml(encoder, test.registry, test.device, x, weight, to,
                                {.m = s.m, .n = s.n, .k = s.k, .ggml_type = type}));
    }
  };
  /// Whether the product's kernel has a fused form.
  bool streams(const ProductShape& s) {
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
      random = Random(seed);
      device.reset_profile();
      for (const MlxBuffer& buffer : run(apart)) results[apart].push_back(bytes(buffer));
    }
    ASSERT_EQ(results[0].size(), results[1].size()) << what;
    for (std::size_t i = 0; i < results[0].size(); ++i)
      EXPECT_TRUE(results[0][i] == results[1][i]) << "buffer " << i << ", " << what;
  }
  /// The same bytes, and fewer commands if there is such a kernel.
  void compare(const ProductShape& s, const std::function<void(Step&)>& record) { compare(s, streams(s), record); }
  void compare(const ProductShape& s, bool fusible, const std::function<void(Step&)>& record) {
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
  Random random{1};
};

}  // namespace mlx_native::test
