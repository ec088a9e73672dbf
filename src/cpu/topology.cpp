#include "cpu/topology.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "core/control_groups.h"

namespace mlx_native::cpu {

namespace {
/// What follows `key` and a colon in a file of such lines.
std::string field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key))
      if (const auto colon = line.find(':'); colon != std::string::npos) {
        const auto start = line.find_first_not_of(" \t", colon + 1);
        return start == std::string::npos ? "" : line.substr(start);
      }
  return "";
}
}  // namespace

std::optional<double> cpu_quota(const std::filesystem::path& root, std::string_view memberships) {
  std::optional<double> least;
  const auto limit = [&](const std::string& quota, const std::string& period) {
    const double used = std::strtod(quota.c_str(), nullptr), of = std::strtod(period.c_str(), nullptr);
    if (used > 0 && of > 0) least = std::min(least.value_or(used / of), used / of);  // "max" and -1: no limit
  };
  for (const auto& [directory, unified] : control_groups(root, memberships, "cpu")) {
    if (unified) {
      std::istringstream both(first_line(directory / "cpu.max"));
      std::string quota, period;
      both >> quota >> period;
      limit(quota, period);
    } else {
      limit(first_line(directory / "cpu.cfs_quota_us"), first_line(directory / "cpu.cfs_period_us"));
    }
  }
  return least;
}

std::uint32_t usable_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (::sched_getaffinity(0, sizeof mask, &mask) != 0) return 1;
  // Hyperthreads of one core share a line in thread_siblings_list.
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    std::string siblings =
        first_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : std::move(siblings));
  }
  // A thread more than the quota would have all of them stopped for the rest of each period.
  const double allowed = cpu_quota(kControlGroups, own_memberships()).value_or(1e9);
  return static_cast<std::uint32_t>(std::max(1.0, std::min(std::floor(allowed), static_cast<double>(cores.size()))));
}

std::string cpu_name() {
  const std::string name = field("/proc/cpuinfo", "model name");
  return name.empty() ? "CPU" : name;
}

}  // namespace mlx_native::cpu
