// Linux control groups (cgroups), by which containers and services are limited.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mlx_native {

/// Where they are mounted.
inline constexpr const char* kControlGroups = "/sys/fs/cgroup";

struct ControlGroup {
  std::filesystem::path directory;
  bool unified;  ///< of version 2
};

/// The groups whose limits on `controller` ("cpu", "memory") hold for a process, where `memberships` has the lines of
/// /proc/self/cgroup and `root` is kControlGroups: its own and those above. Directories may be missing: a container
/// sees its own group at the root.
std::vector<ControlGroup> control_groups(const std::filesystem::path& root, std::string_view memberships,
                                         std::string_view controller);

/// The lines of /proc/self/cgroup.
std::string own_memberships();

/// The first line of a small system file; empty where there is none.
std::string first_line(const std::filesystem::path& path);

}  // namespace mlx_native
