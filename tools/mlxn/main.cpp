#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <exception>
#include <new>

#include "command.h"
#include "output.h"
#include "text.h"

namespace {

using namespace mlxn;

constexpr const char* kHelp =
    "mlxn runs language models from GGUF files.\n"
    "Exit codes: 0 success, 1 bad input (one line on stderr says which), 2 wrong usage, 130 ended by Ctrl-C.";

int complain(const CLI::App& command, std::string_view text, int code) {
  const std::string name = command.get_parent() ? "mlxn " + command.get_name() : "mlxn";
  const std::string hint = code == kWrongUsage ? fmt::format(" (see {} --help)", name) : "";
  fmt::print(stderr, "{}: {}{}\n", name, printable_line(text), hint);
  return code;
}

int run(int argc, char** argv) {
  CLI::App app(kHelp, "mlxn");
  app.require_subcommand(1);
  app.set_version_flag("--version", "mlxn " MLXN_VERSION);
  const std::array commands = {add_devices(app),  add_inspect(app), add_generate(app), add_perplexity(app),
                               add_quantize(app), add_synth(app),   add_bench(app)};
  const CLI::App* current = &app;
  try {
    app.parse(argc, argv);
    for (const auto& command : commands) {
      if (!command.app->parsed()) continue;
      current = command.app;
      const int code = command.run();
      flush_output();
      return code;
    }
  } catch (const CLI::Success& success) {  // --help, --version
    const int code = app.exit(success);
    flush_output();
    return code;
  } catch (const CLI::ParseError& error) {
    for (const auto& command : commands)
      if (command.app->parsed()) current = command.app;
    // CLI11 would ask for a subcommand where it does not know the one that is given.
    const bool unknown = current == &app && argc > 1 && argv[1][0] != '-';
    return complain(*current, unknown ? fmt::format("there is no subcommand {}", argv[1]) : error.what(), kWrongUsage);
  } catch (const Misuse& error) {
    return complain(*current, error.what(), kWrongUsage);
  } catch (const std::bad_alloc&) {
    return complain(*current, "out of memory", kBadInput);
  } catch (const std::exception& error) {
    return complain(*current, error.what(), kBadInput);
  }
  return kWrongUsage;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "mlxn: {}\n", printable_line(error.what()));
    return kBadInput;
  }
}
