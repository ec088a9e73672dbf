#pragma once

#include <span>

#include "cpu/team.h"
#include "runtime/command.h"

namespace mlx_native::cpu {

/// A worker's part of a list of commands. Every worker of the team calls it with the same list.
///
/// Of neighbours that are brief (detail::Kernel) all are done by one worker at one barrier, which saves those that they
/// need among themselves: between two products of a decode step there are up to six such commands.
void run_commands(std::span<const detail::Command> commands, Team& team);

}  // namespace mlx_native::cpu
