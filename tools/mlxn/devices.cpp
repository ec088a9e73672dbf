#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "command.h"
#include "mlx_native/device.h"
#include "options.h"
#include "output.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::Backend;
using mlx_native::MlxDevice;

/// Those that this machine can run, best first, then the others; the emulator only where it is available.
std::vector<Backend> all_backends() {
  auto backends = mlx_native::available_backends();
  for (const Backend other : {Backend::Cuda, Backend::Metal})
    if (std::find(backends.begin(), backends.end(), other) == backends.end()) backends.push_back(other);
  return backends;
}

void print_json() {
  Json list = Json::array();
  for (const Backend backend : all_backends()) {
    Json entry = {{"backend", mlx_native::backend_name(backend)}};
    const auto device = MlxDevice::create(backend);
    entry["available"] = device.has_value();
    if (device) {
      entry["name"] = device->name();
      entry["parallelism"] = device->parallelism();
      entry["total_memory"] = device->total_memory();
      entry["free_memory"] = device->free_memory();
    } else {
      entry["reason"] = device.error().message;
    }
    list.push_back(std::move(entry));
  }
  write_json({{"devices", std::move(list)}});
}

void print_table() {
  Table table{{false, true, true, true, false}, {{"backend", "threads/SMs", "memory", "free", "name"}}};
  for (const Backend backend : all_backends()) {
    const std::string name(mlx_native::backend_name(backend));
    if (const auto device = MlxDevice::create(backend))
      table.rows.push_back({name, fmt::format("{}", device->parallelism()), bytes_text(device->total_memory()),
                            bytes_text(device->free_memory()), printable_line(device->name())});
    else
      table.rows.push_back({name, "-", "-", "-", "not available: " + printable_line(device.error().message)});
  }
  write_output(table.text());
}

}  // namespace

Command add_devices(CLI::App& app) {
  CLI::App& command = add_command(app, "devices", "list the devices that models can run on, and why others cannot");
  const auto json = std::make_shared<bool>(false);
  add_flag(command, "--json", *json, "print JSON");
  return {&command, [json] {
            *json ? print_json() : print_table();
            return kSuccess;
          }};
}

}  // namespace mlxn
