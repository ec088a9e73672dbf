// What a command has to do at least, as its arguments and declared uses tell.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/command.h"

namespace mlx_native::detail {

struct Work {
  std::string problem;  ///< as ProfileEntry has it, and the two below
  std::uint64_t bytes = 0;
  double operations = 0;
};

/// Of a command that does not run now: positions and expert ids are read from its buffers.
Work work_of(const Command& command);

}  // namespace mlx_native::detail
