#include "inspect.h"

#include <memory>

#include "command.h"

namespace mlxn {

Command add_inspect(CLI::App& app) {
  auto* command = app.add_subcommand("inspect", "show metadata and tensors of a GGUF file");
  const auto options = std::make_shared<InspectOptions>();
  command->add_option("FILE", options->path, "GGUF file (of a split one the first part)")->required();
  command->add_flag("--json", options->json, "print JSON");
  command->add_flag("--full", options->full, "print long arrays and strings whole");
  return {command, [options] {
            inspect_gguf(*options);
            return kSuccess;
          }};
}

}  // namespace mlxn
