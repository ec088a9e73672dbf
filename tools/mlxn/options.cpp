#include "options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <thread>
#include <type_traits>

#include "command.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::Backend;
using mlx_native::Precision;

template <class T>
T parse(const std::string& option, std::string_view text, T low, T high) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // NaN is in no range.
  if (error == std::errc() && end == text.data() + text.size() && value >= low && value <= high) return value;
  constexpr const char* kind = std::is_floating_point_v<T> ? "number" : "whole number";
  throw CLI::ValidationError(option, fmt::format("needs a {} from {} to {}, not \"{}\"", kind, low, high, text));
}

/// The first long one of "-t,--threads", by which CLI11 calls it too.
std::string name_of(const std::string& flags) {
  const std::size_t start = flags.find("--");
  return flags.substr(start, flags.find(',', start) - start);
}

template <class T, class Value>
CLI::Option* add(CLI::App& app, const std::string& flags, Value& value, T low, T high, const std::string& help,
                 const std::string& if_absent) {
  const std::string option = name_of(flags);
  auto* added = app.add_option_function<std::string>(
      flags, [=, &value](const std::string& text) { value = parse(option, text, low, high); }, help);
  return added->type_name("N")->default_str(if_absent);
}

}  // namespace

CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& help, const std::string& footer) {
  CLI::App* command = app.add_subcommand(name, help);
  command->option_defaults()->take_last();
  command->footer(footer);
  return *command;
}

CLI::Option* add_flag(CLI::App& app, const std::string& flags, bool& value, const std::string& help) {
  return app.add_flag(flags, value, help);
}

template <class T>
CLI::Option* add_text(CLI::App& app, const std::string& flags, T& value, const std::string& help,
                      const TextOption& more) {
  auto* option = app.add_option(flags, value, help)->type_name(more.type)->required(more.required);
  if (!more.one_of.empty()) option->check(CLI::IsMember(more.one_of));
  if (more.show_default) option->capture_default_str();
  return option;
}
template CLI::Option* add_text(CLI::App&, const std::string&, std::string&, const std::string&, const TextOption&);
template CLI::Option* add_text(CLI::App&, const std::string&, std::filesystem::path&, const std::string&,
                               const TextOption&);
template CLI::Option* add_text(CLI::App&, const std::string&, std::optional<std::string>&, const std::string&,
                               const TextOption&);
template CLI::Option* add_text(CLI::App&, const std::string&, std::optional<std::filesystem::path>&, const std::string&,
                               const TextOption&);

void needs(CLI::Option* one, CLI::Option* other) { one->needs(other); }
void excludes(CLI::Option* one, CLI::Option* other) { one->excludes(other); }

CLI::Option* add_number(CLI::App& app, const std::string& flags, std::uint32_t& value, std::uint32_t low,
                        std::uint32_t high, const std::string& help) {
  return add(app, flags, value, low, high, help, fmt::format("{}", value));
}
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::uint64_t& value, std::uint64_t low,
                        std::uint64_t high, const std::string& help) {
  return add(app, flags, value, low, high, help, fmt::format("{}", value));
}
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::int64_t& value, std::int64_t low,
                        std::int64_t high, const std::string& help) {
  return add(app, flags, value, low, high, help, fmt::format("{}", value));
}
CLI::Option* add_number(CLI::App& app, const std::string& flags, float& value, float low, float high,
                        const std::string& help) {
  return add(app, flags, value, low, high, help, fmt::format("{}", value));
}
CLI::Option* add_number(CLI::App& app, const std::string& flags, std::optional<std::uint32_t>& value, std::uint32_t low,
                        std::uint32_t high, const std::string& help, const std::string& none) {
  return add(app, flags, value, low, high, help, none);
}

CLI::Option* add_numbers(CLI::App& app, const std::string& flags, std::vector<std::uint32_t>& values, std::uint32_t low,
                         std::uint32_t high, const std::string& help) {
  const std::string option = name_of(flags);
  const auto take = [=, &values](const std::string& text) {
    values.clear();
    std::string_view rest = text;
    for (;;) {
      const std::size_t comma = rest.find(',');
      values.push_back(parse(option, rest.substr(0, comma), low, high));
      if (comma == std::string_view::npos) return;
      rest.remove_prefix(comma + 1);
    }
  };
  return app.add_option_function<std::string>(flags, take, help)
      ->type_name("N,N,...")
      ->multi_option_policy(CLI::MultiOptionPolicy::Throw)
      ->default_str(fmt::format("{}", fmt::join(values, ",")));
}

CLI::Option* add_host_threads(CLI::App& app, std::uint32_t& value) {
  return add_number(app, "-t,--threads", value, 0, kMaxThreads, "threads; 0: one per logical core");
}
std::uint32_t host_threads(std::uint32_t chosen) {
  return chosen ? chosen : std::max(1u, std::thread::hardware_concurrency());
}

std::string_view precision_name(Precision precision) {
  switch (precision) {
    case Precision::Auto: return "auto";
    case Precision::Full: return "full";
    case Precision::Half: return "half";
    case Precision::Int8: return "int8";
  }
  return "unknown";
}

CLI::Option* add_precision(CLI::App& app, Precision& value) {
  const auto take = [&value](const std::string& name) {
    for (const Precision known : {Precision::Auto, Precision::Full, Precision::Half, Precision::Int8}) {
      value = known;
      if (name == precision_name(known)) return;
    }
    throw CLI::ValidationError("--precision", fmt::format("needs auto, full, half or int8, not \"{}\"", name));
  };
  return app
      .add_option_function<std::string>("--precision", take,
                                        "error that products may have: full 3e-5, half 1e-3, int8 1.5e-2; auto: full "
                                        "for single tokens, half (on the CPU 3e-5) for prompts")
      ->type_name("NAME")
      ->default_str(std::string(precision_name(value)));
}

void DeviceChoice::add_to(CLI::App& app) {
  add_number(app, "-t,--threads", threads, 0, kMaxThreads, "threads of the CPU; 0: one per physical core");
  add_backend_to(app);
}

void DeviceChoice::add_backend_to(CLI::App& app) {
  const auto take = [this](const std::string& name) {
    for (const Backend known : {Backend::Cpu, Backend::Cuda, Backend::Metal, Backend::Emulator})
      if (name == mlx_native::backend_name(known)) backend = known;
    if (!backend) throw CLI::ValidationError("--backend", fmt::format("needs cpu, cuda or metal, not \"{}\"", name));
  };
  app.add_option_function<std::string>("--backend", take, "cpu, cuda or metal")->type_name("NAME")->default_str("best");
}

mlx_native::MlxDevice DeviceChoice::create(bool profile) const {
  const mlx_native::DeviceOptions options{.threads = threads, .profile = profile};
  return must(backend ? mlx_native::MlxDevice::create(*backend, options) : mlx_native::MlxDevice::create(options));
}

}  // namespace mlxn
