// What the process has of this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace mlx_native::cpu {

/// Physical cores that the affinity mask allows; at least 1.
std::uint32_t usable_cores();
/// "AMD EPYC 9354P"; "CPU" where unknown.
std::string cpu_name();
std::size_t physical_memory();
/// Bytes that can be allocated without swapping, by the kernel's own estimate.
std::size_t available_memory();

}  // namespace mlx_native::cpu
