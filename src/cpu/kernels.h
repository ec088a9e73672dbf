// The CPU's kernel table.
#pragma once

#include <vector>

#include "cpu/team.h"
#include "runtime/kernel.h"

namespace mlx_native::cpu {

/// A KernelEntry out of a typed kernel: every worker of the team calls Run.
template <class Args, void (*Run)(const Args&, Team&)>
constexpr detail::KernelEntry entry() {
  return [](const void* args, void* team) { Run(*static_cast<const Args*>(args), *static_cast<Team*>(team)); };
}

std::vector<detail::Kernel> kernels();

}  // namespace mlx_native::cpu
