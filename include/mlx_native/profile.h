#pragma once

#include <cstdint>
#include <string>

namespace [[gnu::visibility("default")]] mlx_native {

/// The runs of one kernel on one size of problem, added up, on a device created with DeviceOptions::profile.
struct ProfileEntry {
  std::string op;       ///< "mat_vec"; "user" for a user's kernel
  std::string kernel;   ///< "cpu.avx512.mat_vec.q4_K"
  std::string problem;  ///< "4096 x 1024, m = 1": for people; empty where there is nothing to tell apart
  std::uint64_t calls = 0;
  double seconds = 0;       ///< from the start of each command, alone on the device, to its end: a launch included
  std::uint64_t bytes = 0;  ///< that must be read and written: the part of a cache in use, the experts chosen
  double operations = 0;    ///< multiplications and additions of products and attention; 0 for other ops
};

}  // namespace mlx_native
