#include "core/system_memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/control_groups.h"

namespace mlx_native {

namespace {

/// The number behind `key` and a space or colon; nullopt where there is none.
std::optional<std::size_t> field(const std::filesystem::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.size() > key.size() && line.starts_with(key) && (line[key.size()] == ' ' || line[key.size()] == ':'))
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10);
  return std::nullopt;
}

std::size_t number(const std::filesystem::path& path) {
  return std::strtoull(first_line(path).c_str(), nullptr, 10);  // 0 for "max"
}

/// What the group lets its processes have; nullopt: as much as there is.
std::optional<std::size_t> limit_of(const ControlGroup& group) {
  constexpr std::size_t kUnlimited = std::size_t{1} << 60;  // version 1 says so by the largest number of pages
  const std::size_t limit = number(group.directory / (group.unified ? "memory.max" : "memory.limit_in_bytes"));
  return limit == 0 || limit >= kUnlimited ? std::nullopt : std::optional(limit);
}

std::size_t physical_memory() {
  return static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::optional<std::size_t> memory_limit(const std::filesystem::path& root, std::string_view memberships) {
  std::optional<std::size_t> least;
  for (const ControlGroup& group : control_groups(root, memberships, "memory"))
    if (const auto limit = limit_of(group)) least = std::min(least.value_or(*limit), *limit);
  return least;
}

std::optional<std::size_t> memory_left(const std::filesystem::path& root, std::string_view memberships) {
  std::optional<std::size_t> least;
  for (const ControlGroup& group : control_groups(root, memberships, "memory")) {
    const auto limit = limit_of(group);
    if (!limit) continue;
    const auto& [directory, unified] = group;
    const std::size_t used = number(directory / (unified ? "memory.current" : "memory.usage_in_bytes"));
    std::size_t cache = 0;
    for (const char* key : {"inactive_file", "active_file"})
      cache += field(directory / "memory.stat", unified ? key : std::string("total_") + key).value_or(0);
    const std::size_t taken = used - std::min(used, cache), left = *limit - std::min(*limit, taken);
    least = std::min(least.value_or(left), left);
  }
  return least;
}

std::size_t usable_memory() {
  const std::size_t physical = physical_memory();
  return std::min(physical, memory_limit(kControlGroups, own_memberships()).value_or(physical));
}

std::size_t available_memory() {
  const auto kilobytes = field("/proc/meminfo", "MemAvailable");
  const std::size_t available = kilobytes ? *kilobytes * 1024 : physical_memory();
  return std::min(available, memory_left(kControlGroups, own_memberships()).value_or(available));
}

}  // namespace mlx_native
