#include "core/control_groups.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <sstream>

namespace mlx_native {

std::vector<ControlGroup> control_groups(const std::filesystem::path& root, std::string_view memberships,
                                         std::string_view controller) {
  std::vector<ControlGroup> groups;
  const std::string wanted = fmt::format(",{},", controller);
  // HIERARCHY:CONTROLLERS:PATH, without controllers in version 2.
  std::istringstream lines{std::string(memberships)};
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = line.substr(first, second - first + 1);
    controllers.front() = controllers.back() = ',';
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(wanted) == std::string::npos) continue;
    const auto mount = unified ? root : root / controller;
    for (auto group = std::filesystem::path(line.substr(second + 1)).relative_path();; group = group.parent_path()) {
      groups.push_back({mount / group, unified});
      if (group.empty()) break;
    }
  }
  return groups;
}

std::string own_memberships() {
  std::ifstream file("/proc/self/cgroup");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace mlx_native
