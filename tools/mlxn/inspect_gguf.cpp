#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <type_traits>
#include <variant>

#include "command.h"
#include "inspect.h"
#include "mlx_native/gguf.h"
#include "output.h"
#include "text.h"

namespace mlxn {

namespace {

using mlx_native::GgufFile;
using mlx_native::MetadataValue;
using mlx_native::TensorInfo;

constexpr std::size_t kShownValues = 6;  ///< of an array

template <class T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, std::string>) return "string";
  if constexpr (std::is_same_v<T, float>) return "f32";
  if constexpr (std::is_same_v<T, double>) return "f64";
  constexpr const char* kNames[2][9] = {{"", "u8", "u16", "", "u32", "", "", "", "u64"},
                                        {"", "i8", "i16", "", "i32", "", "", "", "i64"}};
  return kNames[std::is_signed_v<T>][sizeof(T)];
}

std::string quoted(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return '"' + printable_line(escaped) + '"';
}

std::string scalar_text(const MetadataValue::Scalar& scalar, bool full) {
  return std::visit(
      [full](const auto& value) {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>)
          return printable_line(full ? value : abbreviated(value));
        else
          return fmt::format("{}", value);
      },
      scalar);
}

std::string array_text(const MetadataValue::Array& array, bool full) {
  return std::visit(
      [full](const auto& values) {
        std::string text;
        const std::size_t shown = full ? values.size() : std::min(values.size(), kShownValues);
        for (std::size_t i = 0; i < shown; ++i) {
          if (i > 0) text += ", ";
          using T = typename std::decay_t<decltype(values)>::value_type;
          if constexpr (std::is_same_v<T, std::string>)
            text += quoted(full ? values[i] : abbreviated(values[i], kShownBytes / kShownValues));
          else
            text += fmt::format("{}", static_cast<T>(values[i]));
        }
        return "[" + text + (shown < values.size() ? ", ...]" : "]");
      },
      array);
}

std::string type_text(const MetadataValue& value) {
  if (const auto* scalar = std::get_if<MetadataValue::Scalar>(&value.value))
    return std::visit([](const auto& v) -> std::string { return type_name<std::decay_t<decltype(v)>>(); }, *scalar);
  return std::visit(
      [](const auto& v) {
        return fmt::format("{}[{}]", type_name<typename std::decay_t<decltype(v)>::value_type>(), v.size());
      },
      std::get<MetadataValue::Array>(value.value));
}

Json value_json(const MetadataValue& value, bool full) {
  Json result = {{"type", type_text(value)}};
  if (const auto* scalar = std::get_if<MetadataValue::Scalar>(&value.value)) {
    result["value"] = std::visit([](const auto& v) { return Json(v); }, *scalar);
    return result;
  }
  std::visit(
      [&](const auto& values) {
        const std::size_t shown = full ? values.size() : std::min(values.size(), kShownValues);
        Json list = Json::array();
        for (std::size_t i = 0; i < shown; ++i)
          list.push_back(static_cast<typename std::decay_t<decltype(values)>::value_type>(values[i]));
        result["length"] = values.size();
        result["value"] = std::move(list);
      },
      std::get<MetadataValue::Array>(value.value));
  return result;
}

/// ggml's name of the type, or its number where it has none here.
std::string format_text(const TensorInfo& tensor) {
  if (mlx_native::ggml_layout(tensor.ggml_type)) return std::string(mlx_native::ggml_type_name(tensor.ggml_type));
  return fmt::format("unknown ({})", static_cast<std::uint32_t>(tensor.ggml_type));
}

void print_json(const GgufFile& file, const InspectOptions& options) {
  Json metadata = Json::object();
  for (const auto& [key, value] : file.metadata()) metadata[key] = value_json(value, options.full);
  Json tensors = Json::array();
  for (const auto& tensor : file.tensors())
    tensors.push_back({{"name", tensor.name},
                       {"type", format_text(tensor)},
                       {"shape", tensor.shape},
                       {"offset", tensor.offset},
                       {"bytes", tensor.byte_len}});
  write_json({{"file", options.path.string()},
              {"format", "gguf"},
              {"version", file.version()},
              {"bytes", file.file_bytes()},
              {"parameters", value_count(file)},
              {"metadata", std::move(metadata)},
              {"tensors", std::move(tensors)}});
}

void print_table(const GgufFile& file, const InspectOptions& options) {
  write_output(fmt::format("{}: GGUF version {}, {}, {} parameters\n\n", printable_line(options.path.string()),
                           file.version(), bytes_text(file.file_bytes()), count_text(value_count(file))));
  Table metadata{{false, false, false}, {{"key", "type", "value"}}};
  for (const auto& [key, value] : file.metadata()) {
    const auto* scalar = std::get_if<MetadataValue::Scalar>(&value.value);
    metadata.rows.push_back({printable_line(key), type_text(value),
                             scalar ? scalar_text(*scalar, options.full)
                                    : array_text(std::get<MetadataValue::Array>(value.value), options.full)});
  }
  Table tensors{{false, false, false, true}, {{"tensor", "type", "shape", "size"}}};
  std::map<std::string, std::pair<std::size_t, std::uint64_t>> types;
  for (const auto& tensor : file.tensors()) {
    tensors.rows.push_back({printable_line(tensor.name), format_text(tensor),
                            fmt::format("[{}]", fmt::join(tensor.shape, ", ")), bytes_text(tensor.byte_len)});
    auto& [count, bytes] = types[format_text(tensor)];
    ++count;
    bytes += tensor.byte_len;
  }
  Table summary{{false, true, true}, {{"type", "tensors", "size"}}};
  for (const auto& [type, sum] : types)
    summary.rows.push_back({type, fmt::format("{}", sum.first), bytes_text(sum.second)});
  write_output(metadata.text() + "\n" + tensors.text() + "\n" + summary.text());
}

}  // namespace

void inspect_gguf(const InspectOptions& options) {
  const auto file = must(GgufFile::open(options.path));
  options.json ? print_json(file, options) : print_table(file, options);
}

}  // namespace mlxn
