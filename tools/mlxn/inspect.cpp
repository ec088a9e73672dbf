#include "inspect.h"

#include <array>
#include <fstream>
#include <memory>
#include <string_view>
#include <system_error>

#include "command.h"
#include "options.h"

namespace mlxn {

namespace {

/// By the file's first bytes: a safetensors file begins with the length of its header, then the header, a JSON object.
/// What is neither is left to the GGUF reader to refuse, as is what cannot be read (a pipe would block here).
bool is_safetensors(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::array<char, 9> start{};
  std::ifstream(path, std::ios::binary).read(start.data(), start.size());
  if (std::string_view(start.data(), 4) == "GGUF") return false;
  return start[8] == '{' || path.extension() == ".safetensors";
}

}  // namespace

Command add_inspect(CLI::App& app) {
  CLI::App& command = add_command(app, "inspect", "show metadata and tensors of a GGUF or safetensors file");
  const auto options = std::make_shared<InspectOptions>();
  add_text(command, "FILE", options->path, "GGUF file (of a split one the first part) or safetensors file",
           {.required = true});
  add_flag(command, "--json", options->json, "print JSON");
  add_flag(command, "--full", options->full, "print long arrays and strings whole");
  return {&command, [options] {
            is_safetensors(options->path) ? inspect_safetensors(*options) : inspect_gguf(*options);
            return kSuccess;
          }};
}

}  // namespace mlxn
