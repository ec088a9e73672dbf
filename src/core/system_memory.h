#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>

namespace mlx_native {

/// The machine's memory, or the limit of control groups where that is less.
std::size_t usable_memory();
/// Bytes that can be allocated without swapping, by the kernel's own estimate, and that control groups leave.
std::size_t available_memory();
/// The least limit of control groups. Nullopt: no group has one. Arguments as control_groups has them.
std::optional<std::size_t> memory_limit(const std::filesystem::path& root, std::string_view memberships);
/// What control groups leave to a process: the least of what each is below its limit, where the cache of files does not
/// count, which gives way. Nullopt: no group has a limit. Arguments as control_groups has them.
std::optional<std::size_t> memory_left(const std::filesystem::path& root, std::string_view memberships);

}  // namespace mlx_native
