// What the process has of this machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace mlx_native::cpu {

/// Physical cores (one of the hyperthreads of each) that the affinity mask and the CPU quota allow; at least 1.
std::uint32_t usable_cores();
/// CPUs that the control groups of a process allow it: the least of its group and those above. Nullopt: as many as
/// there are. Arguments as control_groups has them.
std::optional<double> cpu_quota(const std::filesystem::path& root, std::string_view memberships);
/// "AMD EPYC 9354P"; "CPU" where unknown.
std::string cpu_name();

}  // namespace mlx_native::cpu
