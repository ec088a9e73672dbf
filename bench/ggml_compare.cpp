// mlx-native beside ggml on the CPU: the same weights and activations, in alternation, medians, weights from memory.
#include <fmt/format.h>
#include <mlx_native/mlx_native.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "ggml_side.h"

namespace bench {
namespace {

using namespace mlx_native;

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Problem {
  GgmlType type;
  std::uint32_t m, n, k;
  std::size_t weight_bytes() const {
    const GgmlLayout layout = *ggml_layout(type);
    return std::size_t{n} * (k / layout.block_values) * layout.block_bytes;
  }
};

/// Matrices that together are larger than the caches: rows drawn from a few hundred encoded ones.
struct Weights {
  std::vector<float> decoded;  // of the first matrix
  std::shared_ptr<std::vector<std::uint8_t>> bytes;
  std::vector<std::span<const std::uint8_t>> matrices;

  Weights(const Problem& p, std::size_t least_bytes) {
    constexpr std::size_t kDistinct = 128, kAlign = 64;
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(p.k)));
    std::vector<float> values(kDistinct * p.k);
    for (float& v : values) v = normal(random);
    const std::vector<std::uint8_t> rows = need(quantize(p.type, values));
    const std::size_t row_bytes = rows.size() / kDistinct, size = (p.weight_bytes() + kAlign - 1) / kAlign * kAlign;
    const std::size_t copies = std::max<std::size_t>(2, (least_bytes + size - 1) / size);
    bytes = std::make_shared<std::vector<std::uint8_t>>(copies * size + kAlign);
    std::uint8_t* const start = bytes->data() + (kAlign - reinterpret_cast<std::uintptr_t>(bytes->data()) % kAlign);
    for (std::size_t i = 0; i < copies; ++i) {
      for (std::size_t row = 0; row < p.n; ++row)
        std::copy_n(rows.data() + random() % kDistinct * row_bytes, row_bytes, start + i * size + row * row_bytes);
      matrices.emplace_back(start + i * size, p.weight_bytes());
    }
    decoded = need(dequantize(p.type, matrices[0]));
  }
};

class OurSide {
 public:
  OurSide(const MlxDevice& device, const Problem& p, const Weights& weights, std::span<const float> x)
      : device_(device), problem_(p), x_(buffer({p.m, p.k})) {
    std::ranges::copy(x, need(x_.as_mut_slice<float>()).begin());
    for (const auto& matrix : weights.matrices) {
      weights_.push_back(need(device.import_host(std::as_bytes(matrix), weights.bytes, DType::U8, {matrix.size()})));
      outputs_.push_back(buffer({p.m, p.n}));
    }
  }

  void run(std::size_t first, std::size_t count) {
    auto it = graphs_.find({first, count});
    if (it == graphs_.end()) {
      GraphSession session = need(GraphExecutor(device_).begin());
      const auto [type, m, n, k] = problem_;
      for (std::size_t i = first; i < first + count; ++i)
        need(quantized_matmul_ggml(session.encoder(), registry_, device_, x_, weights_[i], outputs_[i],
                                   {.m = m, .n = n, .k = k, .ggml_type = type}));
      kernel_ = session.encoder().dispatched_kernels().front();
      it = graphs_.emplace(std::pair{first, count}, need(session.record())).first;
    }
    need(it->second.replay());
  }
  std::span<const float> output(std::size_t i) { return need(outputs_[i].as_slice<float>()); }
  const std::string& kernel() const { return kernel_; }

 private:
  MlxBuffer buffer(Shape shape) const {
    return need(device_.alloc_buffer(shape[0] * shape[1] * sizeof(float), DType::F32, shape));
  }
  MlxDevice device_;
  KernelRegistry registry_;
  Problem problem_;
  MlxBuffer x_;
  std::vector<MlxBuffer> weights_, outputs_;
  std::map<std::pair<std::size_t, std::size_t>, ComputeGraph> graphs_;
  std::string kernel_;
};

/// Relative L2 error of y against float64, on some rows and columns.
double error(const Problem& p, std::span<const float> w, std::span<const float> x, std::span<const float> y) {
  double difference = 0, size = 0;
  for (std::uint32_t row = 0; row < p.m; row += std::max(1u, p.m / 8))
    for (std::uint32_t column = 0; column < p.n; column += std::max(1u, p.n / 256)) {
      double wanted = 0;
      for (std::size_t i = 0; i < p.k; ++i)
        wanted += double{x[row * std::size_t{p.k} + i]} * double{w[column * std::size_t{p.k} + i]};
      const double d = double{y[row * std::size_t{p.n} + column]} - wanted;
      difference += d * d;
      size += wanted * wanted;
    }
  return std::sqrt(difference / size);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Measured {
  Problem problem;
  std::string kernel;
  double seconds[2], error[2];  // ours, ggml's
};

template <class Side>
double time_of(Side& side, std::size_t first, std::size_t count) {
  // Threads of the other side may spin for milliseconds (libgomp does) before they sleep.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto start = std::chrono::steady_clock::now();
  side.run(first, count);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(count);
}

Measured measure(const MlxDevice& device, const Problem& p, int threads, int rounds, std::size_t bytes) {
  const Weights weights(p, bytes);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(std::size_t{p.m} * p.k);
  for (float& v : x) v = normal(random);
  OurSide ours(device, p, weights, x);
  GgmlSide theirs(static_cast<std::uint32_t>(p.type), p.m, p.n, p.k, weights.matrices, x, threads);
  // Small products: all matrices in one graph; large ones: one matrix after the other.
  const std::size_t all = weights.matrices.size(), count = p.m <= 8 ? all : 1;
  ours.run(0, count);
  theirs.run(0, count);
  std::vector<double> times[2];
  for (int round = 0; round < rounds; ++round) {
    const std::size_t first = count == all ? 0 : static_cast<std::size_t>(round) % all;
    times[0].push_back(time_of(ours, first, count));
    times[1].push_back(time_of(theirs, first, count));
  }
  return {p,
          ours.kernel(),
          {median(times[0]), median(times[1])},
          {error(p, weights.decoded, x, ours.output(0)), error(p, weights.decoded, x, theirs.output(0))}};
}

void print(const std::vector<Measured>& all, bool json) {
  nlohmann::json list = nlohmann::json::array();
  if (!json)
    fmt::print("{:<5} {:>4} {:>6} {:>6}  {:>9} {:>6} {:>6} {:>8}  {:>9} {:>6} {:>6} {:>8}  {:>5}  {}\n", "type", "m",
               "n", "k", "ours us", "GB/s", "GF/s", "error", "ggml us", "GB/s", "GF/s", "error", "ratio", "kernel");
  for (const auto& [p, kernel, seconds, error] : all) {
    const double bytes = static_cast<double>(p.weight_bytes()), flops = 2.0 * p.m * p.n * p.k;
    const std::string name(ggml_type_name(p.type));
    if (!json) {
      fmt::print("{:<5} {:>4} {:>6} {:>6}", name, p.m, p.n, p.k);
      for (int side = 0; side < 2; ++side)
        fmt::print("  {:>9.1f} {:>6.1f} {:>6.1f} {:>8.1e}", seconds[side] * 1e6, bytes / seconds[side] * 1e-9,
                   flops / seconds[side] * 1e-9, error[side]);
      fmt::print("  {:>5.2f}  {}\n", seconds[1] / seconds[0], kernel);
      continue;
    }
    nlohmann::json row{{"type", name}, {"m", p.m}, {"n", p.n}, {"k", p.k}, {"kernel", kernel}};
    row["ratio"] = seconds[1] / seconds[0];
    for (int side = 0; side < 2; ++side)
      row[side ? "ggml" : "ours"] = {{"us", seconds[side] * 1e6},
                                     {"gb_per_s", bytes / seconds[side] * 1e-9},
                                     {"gflop_per_s", flops / seconds[side] * 1e-9},
                                     {"error", error[side]}};
    list.push_back(std::move(row));
  }
  if (json) fmt::print("{}\n", list.dump(2));
}

int run(int argc, char** argv) {
  CLI::App app("mlx-native beside ggml's plain CPU path: y[m, n] = x[m, k] W[n, k]^T");
  std::vector<std::string> types{"q4_K", "q8_0"}, shapes{"4096x4096", "14336x4096", "4096x14336"};
  std::vector<std::uint32_t> rows{1, 512};
  int threads = 4, rounds = 15;
  std::size_t megabytes = 256;
  bool json = false;
  app.add_option("--type", types, "formats")->delimiter(',');
  app.add_option("--shape", shapes, "NxK")->delimiter(',');
  app.add_option("--m", rows, "rows of x")->delimiter(',');
  app.add_option("-t,--threads", threads);
  app.add_option("--rounds", rounds);
  app.add_option("--megabytes", megabytes, "weights that each round goes through (m <= 8) or rotates over");
  app.add_flag("--json", json);
  CLI11_PARSE(app, argc, argv);

  const MlxDevice device = need(MlxDevice::create(Backend::Cpu, {.threads = static_cast<std::uint32_t>(threads)}));
  if (!json) fmt::print("{} beside ggml {}\n", device.name(), ggml_description());
  std::vector<Measured> all;
  for (const std::string& name : types)
    for (const std::string& shape : shapes)
      for (const std::uint32_t m : rows) {
        const auto type = ggml_type_from_name(name);
        std::uint32_t n = 0, k = 0;
        if (!type || std::sscanf(shape.c_str(), "%ux%u", &n, &k) != 2)
          throw std::runtime_error(fmt::format("not a type or not a shape: {} {}", name, shape));
        all.push_back(measure(device, {*type, m, n, k}, threads, rounds, megabytes << 20));
      }
  print(all, json);
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "ggml_compare: {}\n", failure.what());
    return 1;
  }
}
