#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>

#include "bench.h"
#include "command.h"
#include "limits.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/profile.h"
#include "output.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::Backend;
using mlx_native::GgufFile;
using mlx_native::MlxDevice;
using mlx_native::ProfileEntry;

/// What a kernel can reach on this device; 0 where it is not known: operations on GPUs, both on the emulator.
struct Reach {
  double bytes_per_second = 0, operations_per_second = 0;
};

/// The better of `best` and what the device can do now, as other work on the machine disturbs both.
Reach reach_of(const MlxDevice& device, Reach best = {}) {
  if (device.backend() == Backend::Emulator) return best;
  Limits limits(device);
  best.bytes_per_second = std::max(best.bytes_per_second, limits.read_bandwidth());
  if (device.backend() != Backend::Cpu) return best;
  for (const Peak& peak : peaks())
    if (peak.operands == std::string_view("f32") && peak.supported())
      best.operations_per_second = std::max(best.operations_per_second, limits.operations(peak));
  return best;
}

/// The nearer of the two limits, as a fraction of it.
std::optional<double> fraction(const ProfileEntry& entry, const Reach& limits) {
  if (entry.seconds <= 0 || limits.bytes_per_second <= 0) return std::nullopt;
  const double read = static_cast<double>(entry.bytes) / limits.bytes_per_second;
  const double compute = limits.operations_per_second > 0 ? entry.operations / limits.operations_per_second : 0;
  return std::max(read, compute) / entry.seconds;
}

double sum_of(const std::vector<ProfileEntry>& commands) {
  double sum = 0;
  for (const auto& entry : commands) sum += entry.seconds;
  return sum;
}

/// Of the fastest of several runs.
struct Profile {
  double whole = std::numeric_limits<double>::infinity();  ///< seconds of the test, not profiled
  std::vector<ProfileEntry> commands;
  double alone = std::numeric_limits<double>::infinity();  ///< seconds of the commands together
};

Profile measure(mlx_native::Model& plain, mlx_native::Model& profiled, const Test& test, std::uint32_t repetitions) {
  Profile best;
  run_test(plain, test);  // to warm up
  for (std::uint32_t i = 0; i < repetitions; ++i) best.whole = std::min(best.whole, run_test(plain, test));
  run_test(profiled, test);
  for (std::uint32_t i = 0; i < repetitions; ++i) {
    profiled.device().reset_profile();
    run_test(profiled, test);
    auto commands = profiled.device().profile();
    const double alone = sum_of(commands);
    if (alone < best.alone) best = {best.whole, std::move(commands), alone};
  }
  return best;
}

Json json_of(const MlxDevice& device, const Test& test, const Profile& profile, const Reach& limits) {
  Json commands = Json::array();
  for (const auto& entry : profile.commands) {
    Json row = {
        {"op", entry.op},           {"kernel", entry.kernel}, {"problem", entry.problem},      {"calls", entry.calls},
        {"seconds", entry.seconds}, {"bytes", entry.bytes},   {"operations", entry.operations}};
    if (const auto part = fraction(entry, limits)) row["fraction_of_limit"] = *part;
    commands.push_back(std::move(row));
  }
  Json result = {{"test", test.name()},
                 {"backend", mlx_native::backend_name(device.backend())},
                 {"threads", device.parallelism()},
                 {"seconds", profile.whole},
                 {"seconds_as_single_commands", profile.alone}};
  result["limits"] = {{"read_bytes_per_second", limits.bytes_per_second}};
  if (limits.operations_per_second > 0) result["limits"]["f32_operations_per_second"] = limits.operations_per_second;
  result["commands"] = std::move(commands);
  return result;
}

std::string text_of(const MlxDevice& device, const Test& test, const Profile& profile, const Reach& limits) {
  Table table{{false, false, false, true, true, true, true, true, true, true},
              {{"op", "problem", "kernel", "calls", "ms", "share", "us/call", "GB/s", "GFLOP/s", "of limit"}}};
  for (const auto& entry : profile.commands) {
    const auto calls = static_cast<double>(entry.calls);
    const auto part = fraction(entry, limits);
    table.rows.push_back({entry.op, entry.problem, entry.kernel, fmt::format("{}", entry.calls),
                          fmt::format("{:.2f}", 1e3 * entry.seconds),
                          fmt::format("{:.1f} %", 100 * entry.seconds / profile.alone),
                          fmt::format("{:.1f}", 1e6 * entry.seconds / calls),
                          fmt::format("{:.1f}", static_cast<double>(entry.bytes) / entry.seconds * 1e-9),
                          entry.operations > 0 ? fmt::format("{:.1f}", entry.operations / entry.seconds * 1e-9) : "-",
                          part ? fmt::format("{:.0f} %", 100 * *part) : "-"});
  }
  std::string text = fmt::format("{} on {}: {:.2f} ms; as single commands {:.2f} ms\n", test.name(),
                                 printable_line(device.name()), 1e3 * profile.whole, 1e3 * profile.alone);
  text += fmt::format("limits: {:.1f} GB/s", limits.bytes_per_second * 1e-9);
  if (limits.operations_per_second > 0) text += fmt::format(", {:.0f} GFLOP/s", limits.operations_per_second * 1e-9);
  return text + "\n" + "\n" + table.markdown() + "\n";
}

}  // namespace

void bench_profile(const BenchOptions& options) {
  const auto tests = tests_of(options);
  const auto file = open_model(options.model);
  const auto choice = model_for(options, tests);
  Json list = Json::array();
  std::string text;
  Progress progress(options.threads.size() * tests.size());
  for (const std::uint32_t threads : options.threads) {
    const DeviceChoice device{threads, options.device.backend};
    auto plain = load_model(choice, file, device.create());
    auto profiled = load_model(choice, file, device.create(true));
    for (const auto& test : tests) {
      progress.show(list.size(), test.name());
      const auto before = reach_of(plain.device());
      const auto profile = measure(plain, profiled, test, options.repetitions);
      const auto limits = reach_of(plain.device(), before);
      list.push_back(json_of(plain.device(), test, profile, limits));
      text += text_of(plain.device(), test, profile, limits);
    }
  }
  options.json ? write_json(list) : write_output(text);
}

}  // namespace mlxn
