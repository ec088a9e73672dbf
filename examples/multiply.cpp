// Multiplies by a quantized weight of a GGUF file, whose blocks stay as they lie in the file: y = x W^T.
//
//   multiply MODEL.gguf [TENSOR]
#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <cstdio>

#include "check.h"

using namespace mlx_native;

int main(int argc, char** argv) {
  if (argc < 2) return std::fputs("usage: multiply MODEL.gguf [TENSOR]\n", stderr), 2;
  const char* name = argc > 2 ? argv[2] : "blk.0.attn_q.weight";

  const MlxDevice device = check(MlxDevice::create());
  const KernelRegistry registry;
  const GgufFile file = check(GgufFile::open(argv[1]));
  const MlxBuffer weight = check(file.load_tensor(name, device));  // mapped, not copied, on the CPU
  const TensorInfo& info = *file.tensor_info(name);
  const auto n = std::uint32_t(info.shape[0]), k = std::uint32_t(info.shape.back());

  MlxBuffer x = check(device.alloc_buffer(k * sizeof(float), DType::F32, {1, k}));
  MlxBuffer y = check(device.alloc_buffer(n * sizeof(float), DType::F32, {1, n}));
  std::ranges::fill(check(x.as_mut_slice<float>()), 1.0f);

  CommandEncoder encoder = check(device.command_encoder());
  check(quantized_matmul_ggml(encoder, registry, device, x, weight, y,
                              {.m = 1, .n = n, .k = k, .ggml_type = info.ggml_type}));
  check(encoder.commit_and_wait());

  for (const float sum : check(y.as_slice<float>()).first(std::min(n, 8u))) std::printf("%g\n", double(sum));
}
