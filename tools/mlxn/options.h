// Options that take exactly what they say: decimal numbers within a range, lists of them, names of devices. CLI11 stays
// in options.cpp and main.cpp, for every file that includes it takes two seconds longer to compile.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/ops/precision.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mlxn {

/// A subcommand. Of an option that is given twice the last counts; a list can be given once. The footer is what its
/// help says at the end.
CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& help, const std::string& footer = "");

CLI::Option* add_flag(CLI::App& app, const std::string& flags, bool& value, const std::string& help);

struct TextOption {
  const char* type = "TEXT";  ///< stands for the value in the help
  bool required = false;
  bool show_default = false;
  std::vector<std::string> one_of = {};  ///< anything else is a usage error; empty: anything
};
/// For std::string and std::filesystem::path, and optionals of them. A name without dashes is a positional argument.
template <class T>
CLI::Option* add_text(CLI::App& app, const std::string& flags, T& value, const std::string& help,
                      const TextOption& more = {});

/// It is a usage error to give `one` without, or with, `other`.
void needs(CLI::Option* one, CLI::Option* other);
void excludes(CLI::Option* one, CLI::Option* other);

/// Options `flags` with one decimal number in [low, high]; anything else, NaN and infinity too, is a usage error.
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::uint32_t& value, std::uint32_t low,
                        std::uint32_t high, const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::uint64_t& value, std::uint64_t low,
                        std::uint64_t high, const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::int64_t& value, std::int64_t low,
                        std::int64_t high, const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& flags, float& value, float low, float high,
                        const std::string& help);
/// `none` says in the help what is done where it is not given.
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::optional<std::uint32_t>& value, std::uint32_t low,
                        std::uint32_t high, const std::string& help, const std::string& none);
/// "1,2,3": at least one number.
CLI::Option* add_numbers(CLI::App& app, const std::string& flags, std::vector<std::uint32_t>& values, std::uint32_t low,
                         std::uint32_t high, const std::string& help);

/// -t of a command that computes without a device; 0 is one per logical core, as host_threads gives.
CLI::Option* add_host_threads(CLI::App& app, std::uint32_t& value);
std::uint32_t host_threads(std::uint32_t chosen);

/// --precision, by the names that precision_name gives.
CLI::Option* add_precision(CLI::App& app, mlx_native::Precision& value);
/// "auto", "full", "half", "int8".
std::string_view precision_name(mlx_native::Precision precision);

/// -t and --backend.
struct DeviceChoice {
  std::uint32_t threads = 0;
  std::optional<mlx_native::Backend> backend;

  void add_to(CLI::App& app);
  void add_backend_to(CLI::App& app);
  /// Throws Failure where there is no such device. `profile`: as DeviceOptions has it.
  mlx_native::MlxDevice create(bool profile = false) const;
};

/// More threads than any machine has.
inline constexpr std::uint32_t kMaxThreads = 1024;

}  // namespace mlxn
