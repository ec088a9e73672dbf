#include <fmt/format.h>

#include <algorithm>

#include "bench.h"
#include "command.h"
#include "limits.h"
#include "output.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::Backend;
using mlx_native::MlxDevice;

/// 1, 2, 3 ... on small machines, powers of two on large ones, and all cores.
std::vector<std::uint32_t> thread_counts() {
  constexpr std::uint32_t kSmall = 8;
  const std::uint32_t all = DeviceChoice{0, Backend::Cpu}.create().parallelism();
  std::vector<std::uint32_t> counts;
  for (std::uint32_t n = 1; n < all; n = all <= kSmall ? n + 1 : 2 * n) counts.push_back(n);
  counts.push_back(all);
  return counts;
}

}  // namespace

void bench_limits(const BenchOptions& options) {
  const Backend backend = options.device.backend.value_or(Backend::Cpu);
  if (backend == Backend::Emulator) throw Misuse("--limits: the emulator's are those of its host");
  const bool cpu = backend == Backend::Cpu;
  auto counts = options.threads;
  if (cpu && counts == std::vector<std::uint32_t>{0}) counts = thread_counts();
  std::vector<Peak> supported;
  std::ranges::copy_if(peaks(), std::back_inserter(supported),
                       [&](const Peak& peak) { return cpu && peak.supported(); });

  Table table{{false, false, false}, {{"limit", "isa", "instructions"}, {"read, GB/s", "", ""}}};
  for (const Peak& peak : supported)
    table.rows.push_back({fmt::format("multiply-add {}, Gop/s", peak.operands), peak.isa, peak.instructions});
  Json list = Json::array();
  Progress progress(counts.size() * (supported.size() + 1));
  std::uint64_t done = 0;
  for (const std::uint32_t threads : counts) {
    const MlxDevice device = DeviceChoice{threads, backend}.create();
    Limits limits(device);
    std::size_t row = 0;
    const auto add = [&](Json entry, const char* key, double rate) {
      entry["threads"] = device.parallelism();
      entry[key] = rate;
      list.push_back(std::move(entry));
      table.rows[++row].push_back(fmt::format("{:.{}f}", rate * 1e-9, rate < 99.5e9 ? 1 : 0));
      progress.show(++done, fmt::format("{} threads", device.parallelism()));
    };
    table.right.push_back(true);
    table.rows[0].push_back(cpu ? fmt::format("{} thread{}", device.parallelism(), device.parallelism() == 1 ? "" : "s")
                                : printable_line(device.name()));
    add({{"limit", "read"}}, "bytes_per_second", limits.read_bandwidth());
    for (const Peak& peak : supported)
      add({{"limit", "multiply_add"},
           {"operands", peak.operands},
           {"isa", peak.isa},
           {"instructions", peak.instructions}},
          "operations_per_second", limits.operations(peak));
  }
  options.json ? write_json(list) : write_output(table.markdown());
}

}  // namespace mlxn
