// What main.cpp assembles: one function per subcommand, defined in the file of its name.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "mlx_native/error.h"

namespace CLI {
class App;
}  // namespace CLI

namespace mlxn {

/// Exit codes of mlxn, beside those of Interrupt.
inline constexpr int kSuccess = 0;
inline constexpr int kBadInput = 1;
inline constexpr int kWrongUsage = 2;

/// Ends the command with kBadInput and its text as the one line on stderr.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Ends the command with kWrongUsage.
struct Misuse : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value, or a Failure with the error's text.
template <class T>
T must(mlx_native::Result<T> result) {
  if (!result) throw Failure(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Command {
  CLI::App* app;
  std::function<int()> run;  ///< gives the exit code
};

Command add_devices(CLI::App& app);
Command add_generate(CLI::App& app);
Command add_perplexity(CLI::App& app);
Command add_inspect(CLI::App& app);
Command add_quantize(CLI::App& app);
Command add_synth(CLI::App& app);
Command add_bench(CLI::App& app);

}  // namespace mlxn
