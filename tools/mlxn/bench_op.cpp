#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <set>

#include "bench.h"
#include "command.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/graph.h"
#include "mlx_native/ops/checksum.h"
#include "mlx_native/ops/matmul.h"
#include "op_problem.h"
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

template <class T>
MlxBuffer upload(const MlxDevice& device, DType dtype, const std::vector<T>& values) {
  auto buffer = must(device.alloc_buffer(values.size() * sizeof(T), dtype, {values.size()}));
  std::ranges::copy(values, must(buffer.template as_mut_slice<T>()).begin());
  return buffer;
}

MlxBuffer allocate(const MlxDevice& device, DType dtype, std::size_t count) {
  return must(device.alloc_buffer(count * mlx_native::dtype_size(dtype), dtype, {count}));
}

/// The experts of output rows, others in every call: each token goes through all experts in an order of its own, so
/// that no cache holds those that come next.
std::vector<std::vector<std::uint32_t>> random_experts(const OpProblem& problem) {
  std::mt19937 random(3);
  std::vector<std::uint32_t> order(problem.experts);
  std::iota(order.begin(), order.end(), 0u);
  std::vector<std::vector<std::uint32_t>> calls(std::max(problem.experts / problem.top_k, 1u));
  for (std::uint32_t token = 0; token < problem.m; ++token) {
    std::shuffle(order.begin(), order.end(), random);
    for (std::size_t i = 0; i < calls.size() * problem.top_k; ++i)
      calls[i / problem.top_k].push_back(order[i % order.size()]);
  }
  return calls;
}

/// Weights of the experts that occur in a call, on average.
std::size_t bytes_read(const OpProblem& problem, const std::vector<std::vector<std::uint32_t>>& calls) {
  std::size_t experts = 0;
  for (const auto& ids : calls) experts += std::set<std::uint32_t>(ids.begin(), ids.end()).size();
  return experts * problem.expert_bytes() / calls.size();
}

/// Throws Failure where the activations do not fit.
const OpProblem& checked(const OpProblem& problem, const MlxDevice& device) {
  const std::size_t bytes = sizeof(float) * (std::size_t{problem.m} * problem.k + problem.outputs());
  if (bytes <= device.free_memory() / 2) return problem;
  throw Failure(fmt::format("m = {} needs {} of activations and the device has {} free", problem.m, bytes_text(bytes),
                            bytes_text(device.free_memory())));
}

struct Measurement {
  double microseconds, floor, gigabytes_per_second, gigaflops, error;  // floor: microseconds of reading the weights
  std::string kernel;
};

/// A product, and a kernel that only reads the same weights, each as fast as the device runs many of them.
class OpBench {
 public:
  OpBench(const MlxDevice& device, const KernelRegistry& registry, const OpProblem& problem, RotatedWeights& weights)
      : device_(device),
        registry_(registry),
        problem_(checked(problem, device)),
        weights_(weights),
        input_values_(random_values(std::size_t{problem.m} * problem.k, 2)),
        id_values_(random_experts(problem)),
        bytes_read_(bytes_read(problem, id_values_)),
        words_read_((bytes_read_ + sizeof(std::uint32_t) - 1) / sizeof(std::uint32_t)),
        input_(upload(device, DType::F32, input_values_)),
        output_(allocate(device, DType::F32, problem.outputs())),
        sums_(allocate(device, DType::U32, (words_read_ - 1) / mlx_native::kChecksumWords + 1)) {
    for (const auto& ids : id_values_) ids_.push_back(upload(device, DType::U32, ids));
  }

  Measurement measure(std::uint32_t repetitions) {
    const std::uint32_t reads = count_of(&OpBench::record_read), products = count_of(&OpBench::record_product);
    std::vector<double> floors, times;
    for (std::uint32_t i = 0; i < repetitions; ++i) {
      floors.push_back(microseconds(&OpBench::record_read, reads));
      times.push_back(microseconds(&OpBench::record_product, products));
    }
    const double time = statistics(times).median;
    const double flops = 2.0 * static_cast<double>(problem_.outputs()) * problem_.k;
    const auto output = must(output_.as_slice<float>());
    return {time,
            statistics(floors).median,
            static_cast<double>(bytes_read_) / time * 1e-3,
            flops / time * 1e-3,
            sampled_error(problem_, weights_, input_values_, id_values_[(products_ - 1) % ids_.size()], output),
            kernel_};
  }

 private:
  using Record = void (OpBench::*)(CommandEncoder&);

  void record_product(CommandEncoder& encoder) {
    const MlxBuffer &weight = weights_.next(), &ids = ids_[products_++ % ids_.size()];
    const auto& [type, n, k, m, experts, top_k, routed, precision] = problem_;
    if (!routed)
      return must(
          mlx_native::quantized_matmul_ggml(encoder, registry_, device_, input_, weight, output_,
                                            {.m = m, .n = n, .k = k, .ggml_type = type, .precision = precision}));
    must(mlx_native::quantized_matmul_id_ggml(encoder, registry_, device_, input_, weight, ids, output_,
                                              {.n_tokens = m,
                                               .top_k = top_k,
                                               .n = n,
                                               .k = k,
                                               .n_experts = experts,
                                               .expert_stride = problem_.expert_bytes(),
                                               .ggml_type = type,
                                               .precision = precision}));
  }

  /// Of one part of the weights after the other.
  void record_read(CommandEncoder& encoder) {
    constexpr std::size_t kAlignment = 256;
    const std::size_t parts = std::max<std::size_t>(problem_.weight_bytes() / (bytes_read_ + kAlignment), 1);
    const std::size_t from = reads_++ % parts * (bytes_read_ / kAlignment * kAlignment);
    const auto bytes = must(weights_.next().slice_view(from, words_read_ * sizeof(std::uint32_t)));
    const auto words = must(bytes.reinterpret(DType::U32, {words_read_}));
    must(mlx_native::checksum(encoder, registry_, device_, words, sums_, {.n_words = words_read_}));
  }

  /// Of one of `count` in a row, which hide the cost of a commit; on a GPU they are a graph, as models run them.
  double microseconds(Record record, std::uint32_t count) {
    auto session = must(mlx_native::GraphExecutor(device_).begin());
    for (std::uint32_t i = 0; i < count; ++i) (this->*record)(session.encoder());
    auto kernels = session.encoder().dispatched_kernels();
    kernels.resize(kernels.size() / count);
    kernel_ = fmt::format("{}", fmt::join(kernels, " + "));
    const auto timed = [](const auto& work) {
      const auto start = std::chrono::steady_clock::now();
      must(work());
      return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    };
    if (device_.backend() == mlx_native::Backend::Cpu) return timed([&] { return session.finish(); }) / count;
    auto graph = must(session.record());
    must(graph.replay());
    return timed([&] { return graph.replay(); }) / count;
  }

  /// So many that they take about two milliseconds.
  std::uint32_t count_of(Record record) {
    constexpr double kMicroseconds = 2000;
    microseconds(record, 1);
    return static_cast<std::uint32_t>(std::clamp(kMicroseconds / microseconds(record, 1), 1.0, 1000.0));
  }

  const MlxDevice& device_;
  const KernelRegistry& registry_;
  OpProblem problem_;
  RotatedWeights& weights_;
  std::vector<float> input_values_;
  std::vector<std::vector<std::uint32_t>> id_values_;
  std::size_t bytes_read_, words_read_, products_ = 0, reads_ = 0;
  MlxBuffer input_, output_, sums_;
  std::vector<MlxBuffer> ids_;
  std::string kernel_;  // or kernels, of the last product
};

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

Json json_of(const BenchOptions& options, const MlxDevice& device, const OpProblem& problem,
             const Measurement& result) {
  Json entry = {{"op", options.op},
                {"type", mlx_native::ggml_type_name(problem.type)},
                {"n", problem.n},
                {"k", problem.k},
                {"m", problem.m}};
  if (problem.routed) entry.update({{"experts", problem.experts}, {"top_k", problem.top_k}});
  entry.update({{"backend", mlx_native::backend_name(device.backend())},
                {"threads", device.parallelism()},
                {"precision", precision_name(problem.precision)},
                {"microseconds", result.microseconds},
                {"floor_microseconds", result.floor},
                {"weight_gb_per_second", result.gigabytes_per_second},
                {"gflops", result.gigaflops},
                {"error", result.error},
                {"kernel", result.kernel}});
  return entry;
}

const std::vector<std::string> kHeads = {"op", "type",    "n",    "k",       "m", "threads",
                                         "us", "x floor", "GB/s", "GFLOP/s", "E", "kernel"};

std::vector<std::string> row_of(const BenchOptions& options, const MlxDevice& device, const OpProblem& problem,
                                const Measurement& result) {
  return {options.op,
          std::string(mlx_native::ggml_type_name(problem.type)),
          fmt::format("{}", problem.n),
          fmt::format("{}", problem.k),
          fmt::format("{}", problem.m),
          fmt::format("{}", device.parallelism()),
          fmt::format("{:.1f}", result.microseconds),
          fmt::format("{:.2f}", result.microseconds / result.floor),
          fmt::format("{:.2f}", result.gigabytes_per_second),
          fmt::format("{:.1f}", result.gigaflops),
          fmt::format("{:.1e}", result.error),
          result.kernel};
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
  Table table{{false, false, true, true, true, true, true, true, true, true, true, false}, {kHeads}};
  Progress progress(options.threads.size() * types.size() * options.m.size());
  for (const std::uint32_t threads : options.threads) {
    const MlxDevice device = DeviceChoice{threads, options.device.backend}.create();
    for (const GgmlType type : types) {
      OpProblem problem{.type = type,
                        .n = options.n,
                        .k = options.k,
                        .m = 1,
                        .experts = routed ? options.experts : 1,
                        .top_k = routed ? options.top_k : 1,
                        .routed = routed,
                        .precision = options.model.options.precision};
      RotatedWeights weights(device, problem);
      for (const std::uint32_t m : options.m) {
        problem.m = m;
        progress.show(list.size(), mlx_native::ggml_type_name(type));
        const Measurement result = OpBench(device, registry, problem, weights).measure(options.repetitions);
        list.push_back(json_of(options, device, problem, result));
        table.rows.push_back(row_of(options, device, problem, result));
      }
    }
  }
  options.json ? write_json(list) : write_output(table.markdown());
}

}  // namespace mlxn
