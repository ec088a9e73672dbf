#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>

#include "command.h"
#include "inspect.h"
#include "mlx_native/safetensors.h"
#include "output.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::SafetensorsFile;

void print_json(const SafetensorsFile& file, const InspectOptions& options) {
  Json metadata = Json::object();
  for (const auto& key : file.metadata_keys()) metadata[key] = {{"type", "string"}, {"value", *file.metadata(key)}};
  Json tensors = Json::array();
  for (const auto& tensor : file.tensors())
    tensors.push_back({{"name", tensor.name},
                       {"type", tensor.dtype_text},
                       {"shape", tensor.shape},
                       {"offset", tensor.offset},
                       {"bytes", tensor.byte_len}});
  write_json({{"file", options.path.string()},
              {"format", "safetensors"},
              {"bytes", std::filesystem::file_size(options.path)},
              {"parameters", value_count(file)},
              {"metadata", std::move(metadata)},
              {"tensors", std::move(tensors)}});
}

void print_table(const SafetensorsFile& file, const InspectOptions& options) {
  write_output(fmt::format("{}: safetensors, {}, {} parameters\n\n", printable_line(options.path.string()),
                           bytes_text(std::filesystem::file_size(options.path)), count_text(value_count(file))));
  Table metadata{{false, false}, {{"key", "value"}}};
  for (const auto& key : file.metadata_keys()) {
    const std::string value = *file.metadata(key);
    metadata.rows.push_back({printable_line(key), printable_line(options.full ? value : abbreviated(value))});
  }
  Table tensors{{false, false, false, true}, {{"tensor", "type", "shape", "size"}}};
  for (const auto& tensor : file.tensors())
    tensors.rows.push_back({printable_line(tensor.name), printable_line(tensor.dtype_text),
                            fmt::format("[{}]", fmt::join(tensor.shape, ", ")), bytes_text(tensor.byte_len)});
  if (metadata.rows.size() > 1) write_output(metadata.text() + "\n");
  write_output(tensors.text());
}

}  // namespace

void inspect_safetensors(const InspectOptions& options) {
  const auto file = must(SafetensorsFile::open(options.path));
  options.json ? print_json(file, options) : print_table(file, options);
}

}  // namespace mlxn
