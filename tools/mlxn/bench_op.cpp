#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "bench.h"
#include "command.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/graph.h"
#include "mlx_native/ops/checksum.h"
#include "mlx_native/ops/matmul.h"
#include "mlx_native/quantize.h"
#include "output.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::CommandEncoder;
using mlx_native::DType;
using mlx_native::GgmlType;
using mlx_native::KernelRegistry;
using mlx_native::MlxBuffer;
using mlx_native::MlxDevice;

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

template <class T>
MlxBuffer upload(const MlxDevice& device, DType dtype, const std::vector<T>& values) {
  auto buffer = must(device.alloc_buffer(values.size() * sizeof(T), dtype, {values.size()}));
  std::ranges::copy(values, must(buffer.template as_mut_slice<T>()).begin());
  return buffer;
}

/// One product to measure. A dense one is that of a single expert which every token uses.
struct Problem {
  GgmlType type;
  std::uint32_t n, k, m, experts, top_k;
  bool routed;
  mlx_native::Precision precision;

  std::size_t row_bytes() const {
    const auto layout = *mlx_native::ggml_layout(type);
    return k / layout.block_values * std::size_t{layout.block_bytes};
  }
  std::size_t expert_bytes() const { return n * row_bytes(); }
  std::size_t weight_bytes() const { return experts * expert_bytes(); }
  std::size_t output_rows() const { return std::size_t{m} * top_k; }
};

/// Copies of the weights, so many that no cache holds what comes next. Their rows repeat a few encoded ones: times do
/// not depend on the values, and encoding is slow.
class Weights {
 public:
  Weights(const MlxDevice& device, const Problem& problem) : problem_(problem) {
    constexpr std::size_t kEncodedValues = 1 << 19;
    constexpr std::size_t kRotation = std::size_t{256} << 20;
    const std::size_t rows = std::clamp<std::size_t>(kEncodedValues / problem.k, 1, problem.n);
    pattern_ = must(mlx_native::quantize(problem.type, random_values(rows * problem.k, 1)));
    constexpr std::size_t kAlignment = 256;
    const std::size_t bytes = problem.weight_bytes();
    const std::size_t stride = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t copies = std::max<std::size_t>(1, (kRotation + stride - 1) / stride);
    const std::size_t free = device.free_memory();
    if (copies > free / stride)
      throw Failure(
          fmt::format("the weights need {} and the device has {} free", bytes_text(copies * stride), bytes_text(free)));
    auto all = must(device.alloc_buffer(copies * stride, DType::U8, {copies * stride}));
    const auto target = must(all.as_mut_slice<std::uint8_t>());
    for (std::size_t copy = 0; copy < copies; ++copy) {
      for (std::size_t at = 0; at < bytes; at += pattern_.size())
        std::memcpy(&target[copy * stride + at], pattern_.data(), std::min(pattern_.size(), bytes - at));
      copies_.push_back(must(all.slice_view(copy * stride, stride)));
    }
  }
  const MlxBuffer& next() { return copies_[next_++ % copies_.size()]; }
  /// Decoded row of an expert.
  std::vector<float> row(std::size_t expert, std::size_t index) const {
    const std::size_t at = (expert * problem_.expert_bytes() + index * problem_.row_bytes()) % pattern_.size();
    return must(mlx_native::dequantize(problem_.type, std::span(pattern_).subspan(at, problem_.row_bytes())));
  }

 private:
  Problem problem_;
  std::vector<std::uint8_t> pattern_;
  std::vector<MlxBuffer> copies_;
  std::size_t next_ = 0;
};

struct Measurement {
  double microseconds, floor, gigabytes_per_second, gigaflops, error;  // floor: microseconds of reading the weights
  std::string kernel;
};

/// Weights that the product must read at least: of a routed one, the experts that occur.
std::size_t bytes_read(const Problem& problem, const std::vector<std::uint32_t>& ids) {
  return std::set<std::uint32_t>(ids.begin(), ids.end()).size() * problem.expert_bytes();
}

/// Relative L2 error of up to 32 x 32 outputs against float64.
double error_of(const Problem& problem, const Weights& weights, const std::vector<float>& input,
                const std::vector<std::uint32_t>& ids, std::span<const float> output) {
  constexpr std::size_t kSamples = 32;
  double difference = 0, norm = 0;
  const std::size_t row_step = (problem.output_rows() + kSamples - 1) / kSamples,
                    column_step = (problem.n + kSamples - 1) / kSamples;
  for (std::size_t row = 0; row < problem.output_rows(); row += row_step) {
    for (std::size_t column = 0; column < problem.n; column += column_step) {
      const auto weight = weights.row(ids[row], column);
      const float* x = &input[row / problem.top_k * problem.k];
      double exact = 0;
      for (std::size_t i = 0; i < problem.k; ++i) exact += static_cast<double>(weight[i]) * x[i];
      difference += std::pow(output[row * problem.n + column] - exact, 2);
      norm += exact * exact;
    }
  }
  return std::sqrt(difference / norm);
}

Measurement measure(const MlxDevice& device, const KernelRegistry& registry, const Problem& problem, Weights& weights,
                    std::uint32_t repetitions) {
  const std::size_t activations =
      sizeof(float) * problem.m * (std::size_t{problem.k} + std::size_t{problem.top_k} * problem.n);
  if (activations > device.free_memory() / 2)
    throw Failure(fmt::format("m = {} needs {} of activations and the device has {} free", problem.m,
                              bytes_text(activations), bytes_text(device.free_memory())));
  const auto input_values = random_values(std::size_t{problem.m} * problem.k, 2);
  std::vector<std::uint32_t> id_values(problem.output_rows());
  std::mt19937 random(3);
  std::uniform_int_distribution<std::uint32_t> any(0, problem.experts - 1);
  std::generate(id_values.begin(), id_values.end(), [&] { return any(random); });
  const auto input = upload(device, DType::F32, input_values);
  const auto ids = upload(device, DType::U32, id_values);
  const std::size_t outputs = problem.output_rows() * problem.n;
  auto output = must(device.alloc_buffer(outputs * sizeof(float), DType::F32, {outputs}));

  const auto record = [&](CommandEncoder& encoder) {
    const MlxBuffer& weight = weights.next();
    if (!problem.routed)
      return must(mlx_native::quantized_matmul_ggml(
          encoder, registry, device, input, weight, output,
          {.m = problem.m, .n = problem.n, .k = problem.k, .ggml_type = problem.type, .precision = problem.precision}));
    must(mlx_native::quantized_matmul_id_ggml(encoder, registry, device, input, weight, ids, output,
                                              {.n_tokens = problem.m,
                                               .top_k = problem.top_k,
                                               .n = problem.n,
                                               .k = problem.k,
                                               .n_experts = problem.experts,
                                               .expert_stride = problem.expert_bytes(),
                                               .ggml_type = problem.type,
                                               .precision = problem.precision}));
  };
  const std::size_t bytes = bytes_read(problem, id_values),
                    words = (bytes + sizeof(std::uint32_t) - 1) / sizeof(std::uint32_t);
  const std::size_t sum_count = (words - 1) / mlx_native::kChecksumWords + 1;
  auto sums = must(device.alloc_buffer(sum_count * sizeof(std::uint32_t), DType::U32, {sum_count}));
  const auto record_read = [&](CommandEncoder& encoder) {
    const auto weight =
        must(must(weights.next().slice_view(0, words * sizeof(std::uint32_t))).reinterpret(DType::U32, {words}));
    must(mlx_native::checksum(encoder, registry, device, weight, sums, {.n_words = words}));
  };
  std::string kernel;
  // Many at once, to hide the cost of a commit; on a GPU as a graph, as models run them.
  const auto run = [&](const auto& record_one, std::uint32_t count) {
    auto session = must(mlx_native::GraphExecutor(device).begin());
    for (std::uint32_t i = 0; i < count; ++i) record_one(session.encoder());
    auto kernels = session.encoder().dispatched_kernels();
    kernels.resize(kernels.size() / count);
    kernel = fmt::format("{}", fmt::join(kernels, " + "));
    const auto timed = [](const auto& work) {
      const auto start = std::chrono::steady_clock::now();
      must(work());
      return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    };
    if (device.backend() == mlx_native::Backend::Cpu) return timed([&] { return session.finish(); }) / count;
    auto graph = must(session.record());
    must(graph.replay());
    return timed([&] { return graph.replay(); }) / count;
  };
  const auto count_of = [&](const auto& record_one) {
    constexpr double kMicroseconds = 2000;
    run(record_one, 1);
    return static_cast<std::uint32_t>(std::clamp(kMicroseconds / run(record_one, 1), 1.0, 1000.0));
  };
  const std::uint32_t reads = count_of(record_read), products = count_of(record);
  std::vector<double> floors, times;
  for (std::uint32_t i = 0; i < repetitions; ++i) {
    floors.push_back(run(record_read, reads));
    times.push_back(run(record, products));
  }
  const double time = statistics(times).median;
  const double flops = 2.0 * static_cast<double>(outputs) * problem.k;
  const auto result = must(output.as_slice<float>());
  return {time,
          statistics(floors).median,
          static_cast<double>(bytes) / time * 1e-3,
          flops / time * 1e-3,
          error_of(problem, weights, input_values, id_values, result),
          kernel};
}

std::vector<GgmlType> types_of(const BenchOptions& options) {
  if (options.type == "all") {
    const auto all = mlx_native::weight_formats();
    return {all.begin(), all.end()};
  }
  const auto type = mlx_native::ggml_type_from_name(options.type);
  if (type && mlx_native::is_weight_format(*type)) return {*type};
  std::vector<std::string_view> names;
  for (const GgmlType known : mlx_native::weight_formats()) names.push_back(mlx_native::ggml_type_name(known));
  throw Misuse(fmt::format("--type needs one of {} or all, not \"{}\"", fmt::join(names, ", "), options.type));
}

}  // namespace

void bench_op(const BenchOptions& options) {
  const auto types = types_of(options);
  for (const GgmlType type : types)
    if (const auto block = mlx_native::ggml_layout(type)->block_values; options.k % block != 0)
      throw Misuse(
          fmt::format("--k needs a multiple of {} for {}, not {}", block, mlx_native::ggml_type_name(type), options.k));
  const bool routed = options.op == "matmul_id";
  const KernelRegistry registry;
  Json list = Json::array();
  Table table{{false, false, true, true, true, true, true, true, true, true, true, false},
              {{"op", "type", "n", "k", "m", "threads", "us", "x floor", "GB/s", "GFLOP/s", "E", "kernel"}}};
  Progress progress(options.threads.size() * types.size() * options.m.size());
  for (const std::uint32_t threads : options.threads) {
    const MlxDevice device = DeviceChoice{threads, options.device.backend}.create();
    for (const GgmlType type : types) {
      Problem problem{type,
                      options.n,
                      options.k,
                      1,
                      routed ? options.experts : 1,
                      routed ? options.top_k : 1,
                      routed,
                      options.model.options.precision};
      Weights weights(device, problem);
      for (const std::uint32_t m : options.m) {
        problem.m = m;
        progress.show(list.size(), mlx_native::ggml_type_name(type));
        const auto result = measure(device, registry, problem, weights, options.repetitions);
        Json entry = {{"op", options.op},
                      {"type", mlx_native::ggml_type_name(type)},
                      {"n", options.n},
                      {"k", options.k},
                      {"m", m}};
        if (routed) entry.update({{"experts", problem.experts}, {"top_k", problem.top_k}});
        entry.update({{"backend", mlx_native::backend_name(device.backend())},
                      {"threads", device.parallelism()},
                      {"precision", precision_name(problem.precision)},
                      {"microseconds", result.microseconds},
                      {"floor_microseconds", result.floor},
                      {"weight_gb_per_second", result.gigabytes_per_second},
                      {"gflops", result.gigaflops},
                      {"error", result.error},
                      {"kernel", result.kernel}});
        list.push_back(std::move(entry));
        table.rows.push_back(
            {options.op, std::string(mlx_native::ggml_type_name(type)), fmt::format("{}", options.n),
             fmt::format("{}", options.k), fmt::format("{}", m), fmt::format("{}", device.parallelism()),
             fmt::format("{:.1f}", result.microseconds), fmt::format("{:.2f}", result.microseconds / result.floor),
             fmt::format("{:.2f}", result.gigabytes_per_second), fmt::format("{:.1f}", result.gigaflops),
             fmt::format("{:.1e}", result.error), result.kernel});
      }
    }
  }
  options.json ? write_json(list) : write_output(table.markdown());
}

}  // namespace mlxn
