#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>

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
  write_error(fmt::format("{}: {}{}\n", name, printable_line(text), hint));
  return code;
}

/// What there is to say of an option such as llama.cpp's -ngl, -fa and -ctk, which CLI11 would read as -n gl, -f a and
/// -c tk. What stands behind an option may be its value.
std::optional<std::string> misspelt_option(std::span<char* const> arguments) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  std::string_view before;
  for (const std::string_view text : arguments) {
    if (text == "-ngl") return "there is no -ngl: a model runs whole on one device, which --backend names";
    if (text.size() > 2 && text[0] == '-' && is_letter(text[1]) && is_letter(text[2]) && !before.starts_with('-'))
      return fmt::format("there is no {}: an option with one dash has one letter", text);
    before = text;
  }
  return std::nullopt;
}

/// Where one of the three standard files is closed, the next file to be opened would take its place, a model that of
/// stdin and what is written that of stdout.
void keep_standard_places() {
  for (const int descriptor : {0, 1, 2})
    if (::fcntl(descriptor, F_GETFD) < 0) (void)::open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
}

/// JSON frees its values with memory that it allocates, in a destructor.
[[noreturn]] void end_without_memory() {
  try {
    if (const auto current = std::current_exception()) std::rethrow_exception(current);
  } catch (const std::bad_alloc&) {
    write_error("mlxn: out of memory\n");
    std::_Exit(kBadInput);
  } catch (...) {
  }
  std::abort();
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
    std::ostringstream text;
    const int code = app.exit(success, text, text);
    write_output(wrapped(text.str()), true);
    return code;
  } catch (const CLI::ParseError& error) {
    for (const auto& command : commands)
      if (command.app->parsed()) current = command.app;
    // CLI11 would ask for a subcommand where it does not know the one that is given, or an option before it.
    if (current == &app && argc > 1)
      return complain(app, fmt::format("there is no {} {}", argv[1][0] == '-' ? "option" : "subcommand", argv[1]),
                      kWrongUsage);
    return complain(*current, misspelt_option({argv + 1, argv + argc}).value_or(error.what()), kWrongUsage);
  } catch (const Misuse& error) {
    return complain(*current, misspelt_option({argv + 1, argv + argc}).value_or(error.what()), kWrongUsage);
  } catch (const std::bad_alloc&) {
    return complain(*current, "out of memory", kBadInput);
  } catch (const std::exception& error) {
    return complain(*current, error.what(), kBadInput);
  }
  return kWrongUsage;
}

}  // namespace

int main(int argc, char** argv) {
  keep_standard_places();
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond `ulimit -f` is an error of the write
  std::set_terminate(end_without_memory);
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    write_error(fmt::format("mlxn: {}\n", printable_line(error.what())));
    return kBadInput;
  }
}
