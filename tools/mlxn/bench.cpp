#include "bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "command.h"

namespace mlxn {

Statistics statistics(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto count = static_cast<double>(samples.size());
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  double squares = 0;
  for (const double sample : samples) squares += (sample - mean) * (sample - mean);
  const std::size_t half = samples.size() / 2;
  const double median = samples.size() % 2 ? samples[half] : (samples[half - 1] + samples[half]) / 2;
  return {mean, samples.size() > 1 ? std::sqrt(squares / (count - 1)) : 0.0, median};
}

namespace {
constexpr const char* kFooter =
    "With -m: pp512 is a prompt of 512 tokens, tg128 the generation of 128, tg128 @ d4096 behind 4096 others, in "
    "tokens per second +- their deviation.\n"
    "With --profile: every command runs alone, its launch included in its time; the fastest of -r runs. Bytes are "
    "those that it must read and write, the limit is the machine's read bandwidth or its multiply-adds in f32, "
    "whichever is nearer; what a cache holds can be read faster.\n"
    "With --op: microseconds (median), times the floor (the time of a kernel that only reads the same weights, run "
    "in the same way), GB/s of weights that are read, GFLOP/s, E (the relative L2 error against float64 on sampled "
    "outputs) and the kernel that ran. Weights are rotated over 256 MB, so that no cache holds them.\n"
    "With --limits: bytes per second out of memory, and of a CPU multiply-adds per second (a multiplication and an "
    "addition are two operations) in the forms that kernels use; without -t from one thread to one per physical core.";
}  // namespace

Command add_bench(CLI::App& app) {
  CLI::App& command =
      add_command(app, "bench", "measure a model, as llama-bench does, an op of the library, or the machine", kFooter);
  const auto options = std::make_shared<BenchOptions>();
  constexpr std::uint32_t kMaxExtent = 1u << 22, kMaxTokens = 1u << 20;

  CLI::Option* model = options->model.add_to(command, false);
  for (CLI::Option* of_model :
       {add_numbers(command, "-p,--n-prompt", options->prompts, 0, kMaxTokens, "prompt lengths to measure; 0: none"),
        add_numbers(command, "-n,--n-gen", options->generations, 0, kMaxTokens, "tokens to generate; 0: none"),
        add_numbers(command, "-d,--n-depth", options->depths, 0, kMaxTokens, "tokens that the context has before"),
        add_flag(command, "--profile", options->profile, "time per op and kernel instead of tokens per second")})
    needs(of_model, model);

  CLI::Option* op = add_text(command, "--op", options->op, "matmul, or matmul_id (routed to experts)",
                             {.type = "OP", .one_of = {"matmul", "matmul_id"}});
  CLI::Option* limits =
      add_flag(command, "--limits", options->limits, "what the device can read, and a CPU multiply, at most");
  excludes(model, op);
  excludes(limits, model);
  excludes(limits, op);
  for (CLI::Option* of_op :
       {add_text(command, "--type", options->type, "weight type, or all", {.type = "TYPE", .show_default = true}),
        add_number(command, "--n", options->n, 1, kMaxExtent, "rows of the weights"),
        add_number(command, "--k", options->k, 1, kMaxExtent, "columns of the weights"),
        add_numbers(command, "--m", options->m, 1, kMaxTokens, "rows of the activations: tokens"),
        add_number(command, "--experts", options->experts, 1, 1u << 16, "matmul_id: experts"),
        add_number(command, "--top-k", options->top_k, 1, 1u << 10, "matmul_id: experts that a token uses")})
    needs(of_op, op);

  add_numbers(command, "-t,--threads", options->threads, 0, kMaxThreads,
              "threads of the CPU; 0: one per physical core");
  options->device.add_backend_to(command);
  add_number(command, "-r,--repetitions", options->repetitions, 1, 10000, "repetitions of each measurement");
  add_flag(command, "--json", options->json, "print JSON");
  return {&command, [options] {
            if (options->model.path.empty() + options->op.empty() + !options->limits != 2)
              throw Misuse("give one of -m, --op and --limits");
            const auto measure = options->limits        ? bench_limits
                                 : !options->op.empty() ? bench_op
                                 : options->profile     ? bench_profile
                                                        : bench_model;
            measure(*options);
            return kSuccess;
          }};
}

}  // namespace mlxn
