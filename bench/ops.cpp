// What the ops beside matrix products cost, in the shapes of models: time, arithmetic and bytes of each.
#include <fmt/format.h>
#include <mlx_native/mlx_native.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

namespace bench {
namespace {

using namespace mlx_native;

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Model {
  std::string name;
  std::uint32_t dim, ffn, heads, kv_heads, head_dim, layers;
};
const Model kModels[] = {
    {"0.6b", 1024, 3072, 16, 8, 128, 28}, {"8b", 4096, 12288, 32, 8, 128, 36}, {"30b-a3b", 2048, 768, 32, 4, 128, 48}};
constexpr std::uint32_t kExperts = 128, kTopK = 8, kVocab = 151936;

class Bench {
 public:
  Bench(std::uint32_t threads, std::string filter, int rounds)
      : device_(need(MlxDevice::create(Backend::Cpu, {.threads = threads}))),
        filter_(std::move(filter)),
        rounds_(rounds) {}

  void prefill(const Model& m, std::uint32_t tokens, std::uint32_t before, DType dtype) {
    attend(m, tokens, before, dtype, 1);
  }
  /// Over so many layers of cache that no cache of the machine holds them.
  void decode(const Model& m, std::uint32_t before, DType dtype) {
    const double bytes = 2.0 * m.kv_heads * m.head_dim * (before + 1) * double(dtype_size(dtype));
    attend(m, 1, before, dtype, std::min(m.layers, std::uint32_t(256e6 / bytes) + 1));
  }

  void others(const Model& m, std::uint32_t tokens) {
    if (filter_.starts_with("attention")) return;
    const std::uint64_t n = tokens;
    const auto label = [&](const char* op) { return fmt::format("{} {} m={}", op, m.name, tokens); };
    MlxBuffer x = floats(n * std::max(m.dim, 8 * m.ffn)), y = floats(n * std::max(m.dim, 8 * m.ffn)),
              z = floats(n * std::max(m.dim, 8 * m.ffn));
    const MlxBuffer w = floats(m.dim), positions = ascending(tokens, 100);
    time(label("rms_norm"), 0, 8.0 * n * m.dim, [&](CommandEncoder& e) {
      return rms_norm(e, registry_, device_, x, w, y, {.rows = tokens, .dim = m.dim, .eps = 1e-6f});
    });
    time(label("rms_norm of heads"), 0, 8.0 * n * m.heads * m.head_dim, [&](CommandEncoder& e) {
      return rms_norm(e, registry_, device_, x, w, z, {.rows = tokens * m.heads, .dim = m.head_dim, .eps = 1e-6f});
    });
    time(label("add"), 0, 12.0 * n * m.dim, [&](CommandEncoder& e) {
      return elementwise_add(e, registry_, device_, x, y, z, {.rows = tokens, .cols = m.dim});
    });
    const std::uint64_t gates = n * m.ffn * (m.ffn < m.dim ? kTopK : 1);
    time(label("silu_mul"), 0, 12.0 * gates,
         [&](CommandEncoder& e) { return silu_mul(e, registry_, device_, x, y, z, {.n = gates}); });
    time(label("rope"), 0, 8.0 * n * m.heads * m.head_dim, [&](CommandEncoder& e) {
      return rope(
          e, registry_, device_, x, positions, nullptr, z,
          {.n_tokens = tokens, .n_heads = m.heads, .head_dim = m.head_dim, .rope_dim = m.head_dim, .theta = 1e6f});
    });
    const std::uint32_t capacity = tokens + 200;
    MlxBuffer cache = zeros(DType::F16, {m.kv_heads, capacity, m.head_dim});
    time(label("kv_cache_write"), 0, 6.0 * n * m.kv_heads * m.head_dim, [&](CommandEncoder& e) {
      return kv_cache_write(
          e, registry_, device_, x, positions, cache,
          {.n_tokens = tokens, .n_kv_heads = m.kv_heads, .head_dim = m.head_dim, .kv_capacity = capacity});
    });
    if (m.ffn >= m.dim) return;
    MlxBuffer ids = zeros(DType::U32, {n * kTopK}), weights = floats(n * kTopK);
    const MlxBuffer logits = floats(n * kExperts), outputs = floats(n * kTopK * m.dim);
    time(label("moe_softmax_topk"), 0, 4.0 * n * kExperts, [&](CommandEncoder& e) {
      return moe_softmax_topk(e, registry_, device_, logits, ids, weights,
                              {.n_tokens = tokens, .n_experts = kExperts, .top_k = kTopK});
    });
    time(label("moe_weighted_reduce"), 0, 4.0 * n * (kTopK + 1) * m.dim, [&](CommandEncoder& e) {
      return moe_weighted_reduce(e, registry_, device_, outputs, weights, y,
                                 {.n_tokens = tokens, .top_k = kTopK, .dim = m.dim});
    });
  }

  void sampling() {
    const MlxBuffer logits = floats(kVocab);
    MlxBuffer token = zeros(DType::U32, {1});
    time("argmax", 0, 4.0 * kVocab,
         [&](CommandEncoder& e) { return argmax(e, registry_, device_, logits, token, {.rows = 1, .cols = kVocab}); });
    time("sample t=0", 0, 4.0 * kVocab, [&](CommandEncoder& e) {
      return sample(e, registry_, device_, logits, nullptr, token, {.n_vocab = kVocab, .temperature = 0});
    });
    time("sample t=0.8 top_k=40 top_p=0.95", 0, 4.0 * kVocab, [&](CommandEncoder& e) {
      return sample(e, registry_, device_, logits, nullptr, token,
                    {.n_vocab = kVocab, .temperature = 0.8f, .top_k = 40, .top_p = 0.95f});
    });
  }

 private:
  void attend(const Model& m, std::uint32_t tokens, std::uint32_t before, DType dtype, std::uint32_t layers) {
    const std::uint64_t n = tokens, length = before + n;
    const std::string label = fmt::format("attention {} m={} at {} {}", m.name, tokens, before, dtype_name(dtype));
    if (label.find(filter_) == std::string::npos) return;
    const MlxBuffer query = floats(n * m.heads * m.head_dim), positions = ascending(tokens, before);
    MlxBuffer output = floats(n * m.heads * m.head_dim);
    std::vector<MlxBuffer> keys, values;
    for (std::uint32_t i = 0; i < layers; ++i) {
      keys.push_back(cache(dtype, m.kv_heads * length * m.head_dim));
      values.push_back(cache(dtype, m.kv_heads * length * m.head_dim));
    }
    const double pairs = double(n) * before + 0.5 * double(n) * double(n + 1);
    const double bytes = 2.0 * m.kv_heads * m.head_dim * double(length) * double(dtype_size(dtype));
    std::size_t layer = 0;
    time(label, 4 * pairs * m.heads * m.head_dim, bytes, [&](CommandEncoder& e) {
      layer = (layer + 1) % layers;
      return attention(e, registry_, device_, query, keys[layer], values[layer], positions, output,
                       {.n_tokens = tokens,
                        .n_heads = m.heads,
                        .n_kv_heads = m.kv_heads,
                        .head_dim = m.head_dim,
                        .kv_capacity = static_cast<std::uint32_t>(length),
                        .scale = 1 / std::sqrt(float(m.head_dim))});
    });
  }

  /// Of one command out of many, in one replay of at least 5 ms: the best of some rounds, since others may be at work.
  void time(const std::string& label, double flops, double bytes,
            const std::function<Result<void>(CommandEncoder&)>& record) {
    if (label.find(filter_) == std::string::npos) return;
    using Clock = std::chrono::steady_clock;
    const auto seconds = [&](int count) {
      GraphSession session = need(GraphExecutor(device_).begin());
      for (int i = 0; i < count; ++i) need(record(session.encoder()));
      ComputeGraph graph = need(session.record());
      need(graph.replay());
      double best = 1e9;
      for (int round = 0; round < rounds_; ++round) {
        const auto start = Clock::now();
        need(graph.replay());
        best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
      }
      return best / count;
    };
    const double once = seconds(4), time = once < 5e-3 ? seconds(std::clamp(int(5e-3 / once), 4, 1000)) : once;
    fmt::print("{:>7}  {:<40} {:>12.2f} {:>9.1f} {:>9.1f}\n", device_.parallelism(), label, time * 1e6,
               flops / time * 1e-9, bytes / time * 1e-9);
  }

  MlxBuffer zeros(DType dtype, const Shape& shape) const {
    const std::size_t n = std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
    return need(device_.alloc_buffer(n * dtype_size(dtype), dtype, shape));
  }
  MlxBuffer floats(std::size_t n) {
    MlxBuffer buffer = zeros(DType::F32, {n});
    for (float& v : need(buffer.as_mut_slice<float>())) v = normal_(random_);
    return buffer;
  }
  /// Values from 0.5 to 1, as F32 or F16.
  MlxBuffer cache(DType dtype, std::size_t n) {
    MlxBuffer buffer = zeros(dtype, {n});
    std::uint32_t at = 1;
    const auto next = [&] { return (at = at * 1664525 + 1013904223) >> 22; };
    if (dtype == DType::F32)
      for (float& v : need(buffer.as_mut_slice<float>())) v = 0.5f + float(next()) / 2048;
    else
      for (std::uint16_t& v : need(buffer.as_mut_slice<std::uint16_t>())) v = std::uint16_t(0x3800 + next());
    return buffer;
  }
  MlxBuffer ascending(std::uint32_t n, std::uint32_t first) const {
    MlxBuffer buffer = zeros(DType::U32, {n});
    const auto values = need(buffer.as_mut_slice<std::uint32_t>());
    std::iota(values.begin(), values.end(), first);
    return buffer;
  }

  MlxDevice device_;
  KernelRegistry registry_;
  std::string filter_;
  int rounds_;
  std::minstd_rand random_{1};
  std::normal_distribution<float> normal_;
};

int run(int argc, char** argv) {
  CLI::App app("what the ops beside matrix products cost");
  std::vector<std::uint32_t> threads{1, 4};
  std::string filter;
  int rounds = 5;
  app.add_option("-t,--threads", threads)->delimiter(',');
  app.add_option("--filter", filter, "only those whose label has this in it");
  app.add_option("--rounds", rounds);
  CLI11_PARSE(app, argc, argv);
  fmt::print("{:>7}  {:<40} {:>12} {:>9} {:>9}\n", "threads", "op", "us", "GFLOP/s", "GB/s");
  for (const std::uint32_t t : threads) {
    Bench bench(t, filter, rounds);
    for (const Model& model : kModels) {
      for (const DType dtype : {DType::F16, DType::F32}) {
        bench.prefill(model, 512, 0, dtype);
        bench.prefill(model, 512, 1536, dtype);
        for (const std::uint32_t tokens : {2u, 8u}) bench.prefill(model, tokens, 1024, dtype);
        for (const std::uint32_t before : {15u, 100u, 1023u, 8191u}) bench.decode(model, before, dtype);
      }
      for (const std::uint32_t tokens : {1u, 512u}) bench.others(model, tokens);
    }
    bench.sampling();
  }
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "bench_ops: {}\n", failure.what());
    return 1;
  }
}
