// A correct call of every op, for tests to spoil.
#pragma once

#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace mlx_native::hostile {

struct Bench {
  MlxDevice device;
  MlxDevice other = MlxDevice::create(Backend::Cpu).value();
  KernelRegistry registry{};
  CommandEncoder encoder = device.command_encoder().value();

  MlxBuffer make(DType dtype, std::size_t n) const {
    return device.alloc_buffer(n * dtype_size(dtype), dtype, {n}).value();
  }
  MlxBuffer f32(std::size_t n) const { return make(DType::F32, n); }
  MlxBuffer u32(std::size_t n) const { return make(DType::U32, n); }
  MlxBuffer u8(std::size_t n) const { return make(DType::U8, n); }
  MlxBuffer foreign(std::size_t n) const { return other.alloc_buffer(n * 4, DType::F32, {n}).value(); }
  MlxBuffer read_only(std::size_t n) const {
    auto owner = std::make_shared<std::vector<float>>(n);
    return device.import_host(std::as_bytes(std::span(*owner)), owner, DType::F32, {n}).value();
  }
  MlxBuffer counting(std::vector<std::uint32_t> values) const {
    MlxBuffer buffer = u32(values.size());
    std::ranges::copy(values, buffer.as_mut_slice<std::uint32_t>().value().begin());
    return buffer;
  }
};

struct Matmul {
  Bench& b;
  GgmlQuantizedMatmulParams p{.m = 2, .n = 3, .k = 256, .ggml_type = GgmlType::Q4_K};
  MlxBuffer x = b.f32(512), w = b.u8(3 * 144), y = b.f32(6);
  Result<void> operator()() { return quantized_matmul_ggml(b.encoder, b.registry, b.device, x, w, y, p); }
};

struct MatmulId {
  Bench& b;
  GgmlQuantizedMatmulIdParams p{.n_tokens = 2,
                                .top_k = 2,
                                .n = 3,
                                .k = 64,
                                .n_experts = 4,
                                .expert_stride = 3 * 68 + 34,
                                .ggml_type = GgmlType::Q8_0};
  MlxBuffer x = b.f32(128), w = b.u8(3 * (3 * 68 + 34) + 3 * 68), ids = b.counting({0, 3, 1, 1}), y = b.f32(12);
  Result<void> operator()() { return quantized_matmul_id_ggml(b.encoder, b.registry, b.device, x, w, ids, y, p); }
};

struct Embedding {
  Bench& b;
  EmbeddingParams p{.n_tokens = 2, .n_rows = 5, .dim = 32, .ggml_type = GgmlType::Q4_0};
  MlxBuffer table = b.u8(5 * 18), ids = b.counting({4, 0}), y = b.f32(64);
  Result<void> operator()() { return embedding_gather_ggml(b.encoder, b.registry, b.device, table, ids, y, p); }
};

struct Dequantize {
  Bench& b;
  DequantizeParams p{.n_values = 64, .ggml_type = GgmlType::Q8_0};
  MlxBuffer blocks = b.u8(68), y = b.f32(64);
  Result<void> operator()() { return dequantize_ggml(b.encoder, b.registry, b.device, blocks, y, p); }
};

struct Norm {
  Bench& b;
  RmsNormParams p{.rows = 3, .dim = 8, .eps = 1e-6f};
  MlxBuffer x = b.f32(24), w = b.f32(8), y = b.f32(24);
  Result<void> operator()() { return rms_norm(b.encoder, b.registry, b.device, x, w, y, p); }
};

struct Rope {
  Bench& b;
  RopeParams p{.n_tokens = 2, .n_heads = 3, .head_dim = 16, .rope_dim = 8, .theta = 10000};
  MlxBuffer x = b.f32(96), positions = b.u32(2), y = b.f32(96);
  std::optional<MlxBuffer> factors{};
  Result<void> operator()() {
    return rope(b.encoder, b.registry, b.device, x, positions, factors ? &*factors : nullptr, y, p);
  }
};

struct CacheWrite {
  Bench& b;
  KvCacheWriteParams p{.n_tokens = 3, .n_kv_heads = 2, .head_dim = 4, .kv_capacity = 8};
  MlxBuffer x = b.f32(24), positions = b.counting({5, 6, 7}), cache = b.make(DType::F16, 64);
  Result<void> operator()() { return kv_cache_write(b.encoder, b.registry, b.device, x, positions, cache, p); }
};

struct Attention {
  Bench& b;
  AttentionParams p{.n_tokens = 3, .n_heads = 4, .n_kv_heads = 2, .head_dim = 4, .kv_capacity = 8, .scale = 0.5f};
  MlxBuffer q = b.f32(48), k = b.f32(64), v = b.f32(64), positions = b.counting({5, 6, 7}), y = b.f32(48);
  Result<void> operator()() { return attention(b.encoder, b.registry, b.device, q, k, v, positions, y, p); }
};

struct Add {
  Bench& b;
  ElementwiseParams p{.rows = 3, .cols = 5};
  MlxBuffer x = b.f32(15), y = b.f32(15), z = b.f32(15);
  Result<void> operator()() { return elementwise_add(b.encoder, b.registry, b.device, x, y, z, p); }
};

struct Silu {
  Bench& b;
  ActivationParams p{.n = 10};
  MlxBuffer gate = b.f32(10), up = b.f32(10), y = b.f32(10);
  Result<void> operator()() { return silu_mul(b.encoder, b.registry, b.device, gate, up, y, p); }
};

struct Gelu {
  Bench& b;
  GeluParams p{.n = 10};
  MlxBuffer x = b.f32(10), y = b.f32(10);
  Result<void> operator()() { return gelu(b.encoder, b.registry, b.device, x, y, p); }
};

struct Topk {
  Bench& b;
  MoeSoftmaxTopkParams p{.n_tokens = 2, .n_experts = 6, .top_k = 3};
  MlxBuffer x = b.f32(12), ids = b.u32(6), weights = b.f32(6);
  Result<void> operator()() { return moe_softmax_topk(b.encoder, b.registry, b.device, x, ids, weights, p); }
};

struct Reduce {
  Bench& b;
  MoeWeightedReduceParams p{.n_tokens = 2, .top_k = 3, .dim = 4};
  MlxBuffer x = b.f32(24), w = b.f32(6), y = b.f32(8);
  Result<void> operator()() { return moe_weighted_reduce(b.encoder, b.registry, b.device, x, w, y, p); }
};

struct Argmax {
  Bench& b;
  ArgmaxParams p{.rows = 2, .cols = 5};
  MlxBuffer x = b.f32(10), index = b.u32(2);
  Result<void> operator()() { return argmax(b.encoder, b.registry, b.device, x, index, p); }
};

struct Sample {
  Bench& b;
  SampleParams p{.n_vocab = 10, .n_history = 4};
  MlxBuffer x = b.f32(10), token = b.u32(1);
  std::optional<MlxBuffer> history = b.u32(4);
  Result<void> operator()() {
    return sample(b.encoder, b.registry, b.device, x, history ? &*history : nullptr, token, p);
  }
};

struct Checksum {
  Bench& b;
  ChecksumParams p{.n_words = kChecksumWords + 5};
  MlxBuffer x = b.u32(kChecksumWords + 5), sums = b.u32(2);
  Result<void> operator()() { return checksum(b.encoder, b.registry, b.device, x, sums, p); }
};

}  // namespace mlx_native::hostile
