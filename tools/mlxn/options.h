// Options that take exactly what they say: decimal numbers within a range, lists of them, names of devices.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/ops/precision.h"

namespace mlxn {

/// Options `flags` with one decimal number in [low, high]; anything else, NaN and infinity too, is a usage error.
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::uint32_t& value, std::uint32_t low,
                        std::uint32_t high, const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::uint64_t& value, std::uint64_t low,
                        std::uint64_t high, const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::int64_t& value, std::int64_t low,
                        std::int64_t high, const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& flags, float& value, float low, float high,
                        const std::string& help);
/// "1,2,3": at least one number.
CLI::Option* add_numbers(CLI::App& app, const std::string& flags, std::vector<std::uint32_t>& values, std::uint32_t low,
                         std::uint32_t high, const std::string& help);

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
