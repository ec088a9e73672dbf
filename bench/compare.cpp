// This library beside others on the CPU: the same weights and activations, in alternation, medians, weights from
// memory.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "mlxn/limits.h"
#include "sides.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
using mlx_native::GgmlType;
using mlx_native::Precision;

struct Options {
  std::vector<std::string> types{"q4_0", "q8_0", "q4_K", "q5_K", "q6_K"},
      shapes{"4096x4096", "14336x4096", "4096x14336"}, precisions{"full"}, sides;
  std::vector<std::uint32_t> rows{1, 2, 4, 8, 16, 128, 512}, experts, tokens{1, 32, 512};
  std::vector<int> threads{1, 4};
  double seconds = 1;
  int rounds = 31, least_rounds = 3, pause_ms = 25, warm_ms = 12;
  std::size_t megabytes = 256;
  std::string isa, json;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  if (values.empty()) return NAN;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct NamedSide {
  std::string name;
  bool ours;
  std::unique_ptr<Side> side;      // null: the library has no such form of these weights
  std::vector<double> times = {};  // seconds a product
  double error = NAN;
};

struct Cell {
  Shape shape;
  std::uint32_t rows;
  int threads;
  double flops, bytes, read, multiply;  // the limits: bytes and operations per second

  /// The least time of one product that the limits allow.
  double least_seconds() const { return std::max(bytes / read, flops / multiply); }
  bool by_bytes() const { return rows == 1; }
  double work() const { return (by_bytes() ? bytes : flops) * 1e-9; }
};

/// The ISA, as `mlxn bench --limits` names it, whose f32 multiply-adds are those of `isa`: some add only other
/// products.
std::string_view float_isa(std::string_view isa) {
  if (isa == "avx_vnni") return "avx2";
  if (isa == "avx512_bf16" || isa == "amx") return "avx512";
  if (isa == "neon_dotprod") return "neon";
  return isa;
}

/// f32 multiply-adds of the ISA; of the newest that the machine has if empty.
const mlxn::Peak& peak_of(const std::string& isa) {
  const mlxn::Peak* found = nullptr;
  for (const mlxn::Peak& peak : mlxn::peaks())
    if (std::string_view(peak.operands) == "f32" && peak.supported() && (isa.empty() || float_isa(isa) == peak.isa))
      found = &peak;
  if (!found) throw std::runtime_error(fmt::format("no f32 multiply-adds of the ISA '{}' on this machine", isa));
  return *found;
}

/// Runs for some milliseconds what is measured next. A core that has slept, or done something else, begins below its
/// speed, and several that wake together stay there for milliseconds; the limits are measured behind such work too.
template <class Run>
void warm_up(const Options& options, const Run& run) {
  const auto start = Clock::now();
  while (seconds_since(start) < options.warm_ms * 1e-3) run();
}

Cell measure(const Options& options, mlxn::Limits& limits, const Weights& weights, std::vector<NamedSide>& sides,
             std::uint32_t rows, int threads) {
  const Products products(weights, rows, threads);
  const Oracle oracle(weights, products);
  for (NamedSide& s : sides) {
    if (!s.side) continue;
    s.times.clear();
    s.side->prepare(products);
    s.side->run(0);
    s.error = oracle.error(s.side->output(0));
  }
  std::vector<double> read, multiply;
  std::uint32_t next = 1;
  const auto start = Clock::now();
  for (int round = 0; round < options.rounds; ++round) {
    if (round >= options.least_rounds && seconds_since(start) > options.seconds) break;
    for (NamedSide& s : sides) {
      if (!s.side) continue;
      // Threads of the side before may spin for milliseconds (libgomp's do) before they sleep.
      std::this_thread::sleep_for(std::chrono::milliseconds(threads > 1 ? options.pause_ms : 2));
      warm_up(options, [&] { s.side->run(next++ % products.runs); });
      const auto begin = Clock::now();
      s.side->run(next++ % products.runs);
      s.times.push_back(seconds_since(begin) / products.per_run);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(threads > 1 ? options.pause_ms : 2));
    read.push_back(limits.read_bandwidth());
    multiply.push_back(limits.operations(peak_of(options.isa)));
  }
  return {weights.shape(), rows, threads, products.flops, products.bytes, median(read), std::ranges::max(multiply)};
}

std::string shape_name(const Shape& shape) {
  const std::string size = fmt::format("{}x{}", shape.n, shape.k);
  return shape.experts ? fmt::format("{}/{} {}", shape.experts, shape.top, size) : size;
}

void print_header(const std::vector<NamedSide>& sides) {
  std::string titles = fmt::format("| {:<4} | {:>16} | {:>4} | {:>2} |      |  limit |", "type", "shape", "m", "t");
  std::string rule = fmt::format("|---|---:|---:|---:|---|---:|");
  for (const NamedSide& s : sides) titles += fmt::format(" {:>8} |", s.name), rule += "---:|";
  for (const NamedSide& s : sides)
    if (s.ours) titles += fmt::format(" {0}/limit | {0}/peer |", s.name), rule += "---:|---:|";
  for (const NamedSide& s : sides) titles += fmt::format(" E {:>8} |", s.name), rule += "---:|";
  fmt::print("{} kernel |\n{}---|\n", titles, rule);
}

/// Rates of all sides, those of ours over the limit and over the best peer, and the errors.
void print(const Cell& cell, const std::vector<NamedSide>& sides) {
  double best_peer = INFINITY;
  for (const NamedSide& s : sides)
    if (!s.ours && s.side) best_peer = std::min(best_peer, median(s.times));
  std::string line = fmt::format("| {:<4} | {:>16} | {:>4} | {:>2} | {} | {:>6.1f} |",
                                 ggml_layout(cell.shape.type)->name, shape_name(cell.shape), cell.rows, cell.threads,
                                 cell.by_bytes() ? "GB/s" : "GF/s", cell.work() / cell.least_seconds());
  for (const NamedSide& s : sides)
    line += s.side ? fmt::format(" {:>8.1f} |", cell.work() / median(s.times)) : fmt::format(" {:>8} |", "-");
  for (const NamedSide& s : sides)
    if (s.ours)
      line += fmt::format(" {:>{}.2f} | {:>{}.2f} |", cell.least_seconds() / median(s.times), s.name.size() + 6,
                          best_peer / median(s.times), s.name.size() + 5);
  for (const NamedSide& s : sides)
    line += s.side ? fmt::format(" {:>10.0e} |", s.error) : fmt::format(" {:>10} |", "-");
  for (const NamedSide& s : sides)
    if (s.ours) line += ' ' + s.side->kernel();
  fmt::print("{} |\n", line);
  std::fflush(stdout);
}

nlohmann::json to_json(const Cell& cell, const std::vector<NamedSide>& sides) {
  nlohmann::json row{{"type", ggml_layout(cell.shape.type)->name},
                     {"n", cell.shape.n},
                     {"k", cell.shape.k},
                     {"m", cell.rows},
                     {"threads", cell.threads},
                     {"read_gb_per_s", cell.read * 1e-9},
                     {"fma_gflop_per_s", cell.multiply * 1e-9}};
  if (cell.shape.experts) row.update({{"experts", cell.shape.experts}, {"top", cell.shape.top}});
  for (const NamedSide& s : sides) {
    if (!s.side) continue;
    const double time = median(s.times);
    row["sides"][s.name] = {{"us", time * 1e6},
                            {"us_min", *std::ranges::min_element(s.times) * 1e6},
                            {"gb_per_s", cell.bytes / time * 1e-9},
                            {"gflop_per_s", cell.flops / time * 1e-9},
                            {"of_limit", cell.least_seconds() / time},
                            {"error", s.error},
                            {"rounds", s.times.size()},
                            {"kernel", s.side->kernel()}};
  }
  return row;
}

std::vector<NamedSide> make_sides(const Options& options, const Weights& weights,
                                  const std::vector<std::pair<std::string, PeerLibrary>>& peers) {
  const auto wanted = [&](const std::string& name) {
    return options.sides.empty() || std::ranges::find(options.sides, name) != options.sides.end();
  };
  std::vector<NamedSide> sides;
  for (const std::string& name : options.precisions) {
    if (!wanted("ours")) break;
    const auto precision = name == "full"   ? Precision::Full
                           : name == "half" ? Precision::Half
                           : name == "int8" ? Precision::Int8
                           : name == "auto" ? Precision::Auto
                                            : throw std::runtime_error("not a precision: " + name);
    sides.push_back({name, true, make_our_side(weights, precision)});
  }
  for (const auto& [name, library] : peers)
    for (const bool repacked : {false, true}) {
      const std::string full_name = repacked ? name + "-rep" : name;
      if (!wanted(full_name)) continue;
      sides.push_back({full_name, false, library.make_side(weights, repacked)});
    }
  return sides;
}

int run(int argc, char** argv) {
  CLI::App app(
      "mlx-native beside other libraries: y[m, n] = x[m, k] W[n, k]^T, each row of x by some experts if asked");
  Options options;
  app.add_option("--type", options.types, "formats")->delimiter(',');
  app.add_option("--shape", options.shapes, "NxK of dense products")->delimiter(',');
  app.add_option("--m", options.rows, "rows of x of dense products")->delimiter(',');
  app.add_option("--experts", options.experts, "E,TOP: products routed to TOP of E experts instead")
      ->delimiter(',')
      ->expected(2);
  app.add_option("--tokens", options.tokens, "rows of x of routed products")->delimiter(',');
  app.add_option("-t,--threads", options.threads)->delimiter(',');
  app.add_option("--precision", options.precisions, "ours: full, half, int8, auto")->delimiter(',');
  app.add_option("--sides", options.sides, "only these: ours, ggml, ggml-rep, ik, ik-rep")->delimiter(',');
  app.add_option("--seconds", options.seconds, "of rounds a cell");
  app.add_option("--rounds", options.rounds, "at most");
  app.add_option("--least-rounds", options.least_rounds);
  app.add_option("--pause", options.pause_ms, "milliseconds between the sides, with more than one thread");
  app.add_option("--warm", options.warm_ms, "milliseconds of untimed runs behind a pause");
  app.add_option("--megabytes", options.megabytes, "weights that the rounds go through");
  app.add_option("--isa", options.isa, "ours and the limits by this one alone; the others as they were built");
  app.add_option("--json", options.json, "file to write");
  CLI11_PARSE(app, argc, argv);
  const bool routed = !options.experts.empty();
  if (routed && !app.count("--shape")) options.shapes = {"768x2048"};

  if (!options.isa.empty()) setenv("MLXN_CPU_ISA", options.isa.c_str(), 1);

  std::vector<std::pair<std::string, PeerLibrary>> peers;
  const std::string names = MLXN_BENCH_PEERS;
  for (std::size_t at = 0; at < names.size();) {
    const std::size_t end = std::min(names.find(',', at), names.size());
    const std::string name = names.substr(at, end - at);
    peers.emplace_back(name, PeerLibrary(fmt::format("libmlxn_peer_{}.so", name)));
    at = end + 1;
  }
  const auto device = need(mlx_native::MlxDevice::create(mlx_native::Backend::Cpu));
  fmt::print("{}", device.name());
  for (const auto& [name, library] : peers) fmt::print("; {}: {}", name, library.description());
  fmt::print("\n");

  constexpr int kRuns = 3;  // of each limit in each round
  std::map<int, mlxn::Limits> limits;
  for (const int threads : options.threads)
    limits.emplace(
        threads,
        mlxn::Limits(need(mlx_native::MlxDevice::create(mlx_native::Backend::Cpu, {.threads = std::uint32_t(threads)})),
                     kRuns));
  nlohmann::json cells = nlohmann::json::array();
  for (const std::string& type_name : options.types)
    for (const std::string& shape_text : options.shapes) {
      const auto type = mlx_native::ggml_type_from_name(type_name);
      Shape shape{};
      if (!type || std::sscanf(shape_text.c_str(), "%ux%u", &shape.n, &shape.k) != 2)
        throw std::runtime_error(fmt::format("not a type or not a shape: {} {}", type_name, shape_text));
      shape.type = *type;
      if (routed) shape.experts = options.experts[0], shape.top = options.experts[1];
      const Weights weights(shape, options.megabytes << 20);
      std::vector<NamedSide> sides = make_sides(options, weights, peers);
      if (cells.empty()) print_header(sides);
      for (const int threads : options.threads)
        for (const std::uint32_t rows : routed ? options.tokens : options.rows) {
          const Cell cell = measure(options, limits.at(threads), weights, sides, rows, threads);
          print(cell, sides);
          cells.push_back(to_json(cell, sides));
        }
    }
  if (!options.json.empty()) std::ofstream(options.json) << cells.dump(1) << '\n';
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "compare: {}\n", failure.what());
    return 1;
  }
}
