// A program outside the tree: opens a GGUF file through the installed headers and library, multiplies by one of its
// quantized weights, and compares with a product of the decoded weights.
#include <mlx_native/mlx_native.h>

#include <cmath>
#include <cstdio>
#include <vector>

using namespace mlx_native;

// What may be left out, warnings leave out too.
[[maybe_unused]] const GenerateOptions kOptions{.max_tokens = 1};
[[maybe_unused]] const PerplexityOptions kChunks{.chunk = 64};
[[maybe_unused]] const Vocabulary kVocabulary{.pre = "gpt-2", .tokens = {}, .merges = {}};

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const char* name = "blk.0.attn_q.weight";
  const MlxDevice device = MlxDevice::create(Backend::Cpu).value();
  const KernelRegistry registry;
  const GgufFile file = GgufFile::open(argv[1]).value();
  const TensorInfo& info = *file.tensor_info(name);
  const auto n = static_cast<std::uint32_t>(info.shape[0]), k = static_cast<std::uint32_t>(info.shape[1]);
  const MlxBuffer weight = file.load_tensor(name, device).value();
  MlxBuffer x = device.alloc_buffer(k * sizeof(float), DType::F32, {1, k}).value();
  MlxBuffer y = device.alloc_buffer(n * sizeof(float), DType::F32, {1, n}).value();
  const auto input = x.as_mut_slice<float>().value();
  for (std::size_t i = 0; i < k; ++i) input[i] = std::sin(static_cast<float>(i));

  CommandEncoder encoder = device.command_encoder().value();
  const auto done = quantized_matmul_ggml(encoder, registry, device, x, weight, y,
                                          {.m = 1, .n = n, .k = k, .ggml_type = info.ggml_type})
                        .and_then([&] { return encoder.commit_and_wait(); });
  if (!done) {
    std::fprintf(stderr, "%s\n", done.error().message.c_str());
    return 1;
  }

  const auto output = y.as_slice<float>().value();
  const std::vector<float> decoded = dequantize(info.ggml_type, file.tensor_bytes(name).value()).value();
  double error = 0, norm = 0;
  for (std::size_t row = 0; row < n; ++row) {
    double sum = 0;
    for (std::size_t i = 0; i < k; ++i)
      sum += static_cast<double>(decoded[row * k + i]) * static_cast<double>(input[i]);
    error += std::pow(static_cast<double>(output[row]) - sum, 2);
    norm += sum * sum;
  }
  const double relative = std::sqrt(error / norm);
  std::printf("mlx_native %s on %s: %s, relative error %.2g\n", kVersion, device.name().c_str(), name, relative);
  return relative <= 3e-5 ? 0 : 1;
}
