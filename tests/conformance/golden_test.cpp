// Products over ggml's own blocks, read from its own files, against its float64 products.
#include "conformance/conformance.h"

namespace mlx_native::conformance {
namespace {

GgufFile golden(const std::string& name) {
  return GgufFile::open(std::string(MLXN_SOURCE_DIR) + "/tests/golden/" + name).value();
}

/// A tensor of floats, widened.
std::vector<double> doubles_of(const GgufFile& file, const std::string& name, const MlxDevice& device) {
  const MlxBuffer buffer = file.load_tensor(name, device).value();
  const auto values = buffer.as_slice<float>().value();
  return {values.begin(), values.end()};
}

class OpGolden : public testing::TestWithParam<Backend> {
 protected:
  MlxDevice device = MlxDevice::create(GetParam()).value();
  KernelRegistry registry;
  CommandEncoder encoder = device.command_encoder().value();

  MlxBuffer floats(std::size_t n) const {
    MlxBuffer buffer = device.alloc_buffer(n * sizeof(float), DType::F32, {n}).value();
    std::ranges::fill(buffer.as_mut_slice<float>().value(), NAN);
    return buffer;
  }
};
MLXN_ON_BACKENDS(OpGolden);

TEST_P(OpGolden, Products) {
  const GgufFile file = golden("formats.gguf");
  const std::uint32_t m = file.metadata_u32("golden.m").value(), n = file.metadata_u32("golden.n").value(),
                      k = file.metadata_u32("golden.k").value();
  const MlxBuffer input = file.load_tensor("input", device).value();
  std::size_t tested = 0;
  for (const GgmlType type : weight_formats()) {
    const std::string name(ggml_type_name(type));
    SCOPED_TRACE(name);
    if (!file.tensor_info(name + ".weight")) continue;
    ++tested;
    const MlxBuffer weight = file.load_tensor(name + ".weight", device).value();
    for (const auto op : {quantized_matmul_ggml, dispatch_mm_for_test}) {
      MlxBuffer output = floats(m * n);
      expect_ok(op(encoder, registry, device, input, weight, output,
                   {.m = m, .n = n, .k = k, .ggml_type = type, .precision = Precision::Full}));
      expect_ok(encoder.commit_and_wait());
      EXPECT_LE(relative_error(output.as_slice<float>().value(), doubles_of(file, name + ".product", device)), 3e-5);
    }
  }
  EXPECT_EQ(tested, weight_formats().size() - 1) << "the file has all but F32";
}

TEST_P(OpGolden, ExpertRoutedProducts) {
  for (const char* const name : {"moe_q4_k.gguf", "moe_q8_0.gguf"}) {
    SCOPED_TRACE(name);
    const GgufFile file = golden(name);
    const TensorInfo& experts = *file.tensor_info("experts.weight");
    const auto n_experts = static_cast<std::uint32_t>(experts.shape[0]);
    const auto n = static_cast<std::uint32_t>(experts.shape[1]), k = static_cast<std::uint32_t>(experts.shape[2]);
    const auto n_tokens = static_cast<std::uint32_t>(file.tensor_info("input")->shape[0]);
    const std::uint32_t top_k = file.metadata_u32("golden.top_k").value();
    const MlxBuffer input = file.load_tensor("input", device).value();
    const MlxBuffer weight = file.load_tensor("experts.weight", device).value();
    const MlxBuffer ids = file.load_tensor("ids", device).value().reinterpret(DType::U32, {n_tokens, top_k}).value();
    for (const auto op : {quantized_matmul_id_ggml, dispatch_id_mm_for_test}) {
      MlxBuffer output = floats(std::size_t{n_tokens} * top_k * n);
      expect_ok(op(encoder, registry, device, input, weight, ids, output,
                   {.n_tokens = n_tokens,
                    .top_k = top_k,
                    .n = n,
                    .k = k,
                    .n_experts = n_experts,
                    .expert_stride = experts.byte_len / n_experts,
                    .ggml_type = experts.ggml_type,
                    .precision = Precision::Full}));
      expect_ok(encoder.commit_and_wait());
      EXPECT_LE(relative_error(output.as_slice<float>().value(), doubles_of(file, "product", device)), 3e-5);
    }
  }
}

}  // namespace
}  // namespace mlx_native::conformance
