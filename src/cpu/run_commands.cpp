#include "cpu/run_commands.h"

#include <algorithm>

namespace mlx_native::cpu {

namespace {

using detail::Command;
using Commands = std::span<const Command>;

void run(const Command& command, Team& team) {
  const detail::Kernel& kernel = *command.kernel;
  if (kernel.entry)
    kernel.entry(command.args.data(), &team);
  else
    kernel.user({.index = team.index(), .count = team.count()}, std::span(command.args).first(command.args_size));
}

bool is_brief(const Command& command) { return command.kernel->brief && command.kernel->brief(command.args.data()); }

bool is_ordered(const Command& command) { return command.barrier; }

}  // namespace

void run_commands(Commands commands, Team& team) {
  while (!commands.empty()) {
    const auto end = std::ranges::find_if_not(commands, is_brief);
    const Commands brief(commands.begin(), end), others(end, commands.end());
    if (std::ranges::any_of(brief, is_ordered) || (!others.empty() && is_ordered(others.front()))) {
      if (team.meet()) {
        Team alone = team.alone();
        for (const Command& command : brief) run(command, alone);
        team.release();
      }
    } else {
      for (const Command& command : brief) run(command, team);
    }
    if (others.empty()) return;
    run(others.front(), team);
    commands = others.subspan(1);
  }
}

}  // namespace mlx_native::cpu
