#include <iterator>
#include <new>
#include <utility>

#include "core/error.h"
#include "files/gguf_split.h"
#include "files/gguf_state.h"
#include "files/limits.h"
#include "files/text.h"
#include "mlx_native/gguf.h"

namespace mlx_native {

namespace {

auto with_path(const std::filesystem::path& path, const MlxError& failure) {
  return error(failure.kind, "{}: {}", path.string(), failure.message);
}

}  // namespace

namespace detail {

Result<GgufAccess::Part> GgufAccess::parse(std::shared_ptr<const MappedFile> file) {
  auto header = parse_gguf(file->bytes());
  if (!header) return with_path(file->path(), header.error());
  return Part{std::move(file), std::move(*header)};
}

Result<GgufFile> GgufAccess::join(std::vector<Part> parts) {
  auto state = std::make_shared<GgufFile::State>();
  auto& first = parts.front();
  state->path = first.file->path();
  state->version = first.header.version;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto& [file, header] = parts[i];
    if (auto checked = check_part(header, first.header, i, parts.size()); !checked)
      return with_path(file->path(), checked.error());
    if (state->tensors.size() + header.tensors.size() > limits::kMaxTensors)
      return error(ErrorKind::GgufParseError, "{}: more than {} tensors in all parts", state->path.string(),
                   limits::kMaxTensors);
    state->tensors.insert(state->tensors.end(), std::make_move_iterator(header.tensors.begin()),
                          std::make_move_iterator(header.tensors.end()));
    state->file_of.resize(state->tensors.size(), static_cast<std::uint16_t>(i));
    state->files.push_back(std::move(file));
  }
  if (auto checked = check_split_tensors(first.header, state->tensors.size()); !checked)
    return with_path(state->path, checked.error());
  state->tensor_index = TensorIndex(state->tensors);
  if (const auto* twice = state->tensor_index.duplicate(state->tensors))
    return error(ErrorKind::GgufParseError, "{}: tensor {} appears twice", state->path.string(), shown(twice->name));
  state->metadata = std::move(first.header.metadata);
  state->metadata_index = std::move(first.header.metadata_index);
  return GgufFile(std::move(state));
}

Result<GgufFile> GgufAccess::from_memory(std::vector<std::uint8_t> bytes) {
  MLXN_ASSIGN(auto part, parse(MappedFile::in_memory(std::move(bytes))));
  std::vector<Part> parts;
  parts.push_back(std::move(part));
  return join(std::move(parts));
}

}  // namespace detail

Result<GgufFile> GgufFile::open(const std::filesystem::path& path, FileAccess access) try {
  using detail::GgufAccess;
  std::vector<GgufAccess::Part> parts;
  const auto add = [&](const std::filesystem::path& part_path) -> Result<void> {
    MLXN_ASSIGN(auto file, access == FileAccess::Read ? MappedFile::read(part_path) : MappedFile::open(part_path));
    MLXN_ASSIGN(auto part, GgufAccess::parse(std::move(file)));
    parts.push_back(std::move(part));
    return {};
  };
  MLXN_TRY(add(path));
  const auto further = further_parts(path, parts.front().header);
  if (!further) return with_path(path, further.error());
  for (const auto& part_path : *further) MLXN_TRY(add(part_path));
  return GgufAccess::join(std::move(parts));
} catch (const std::bad_alloc&) {
  return error(ErrorKind::BufferAllocationError, "out of memory while the header of a GGUF file was read");
}

std::uint32_t GgufFile::version() const { return state_->version; }

std::uint64_t GgufFile::file_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& file : state_->files) bytes += file->bytes().size();
  return bytes;
}

const std::filesystem::path& GgufFile::path() const { return state_->path; }

std::span<const TensorInfo> GgufFile::tensors() const { return state_->tensors; }

std::vector<std::string> GgufFile::tensor_names() const {
  std::vector<std::string> names;
  for (const auto& tensor : state_->tensors) names.push_back(tensor.name);
  return names;
}

const TensorInfo* GgufFile::tensor_info(std::string_view name) const {
  return state_->tensor_index.find(state_->tensors, name);
}

std::span<const GgufFile::MetadataEntry> GgufFile::metadata() const { return state_->metadata; }

const MetadataValue* GgufFile::metadata(std::string_view key) const {
  const auto* entry = state_->metadata_index.find(state_->metadata, key);
  return entry ? &entry->value : nullptr;
}

std::optional<std::string> GgufFile::metadata_string(std::string_view key) const {
  const auto* value = metadata(key);
  const auto* text = value ? value->as_string() : nullptr;
  return text ? std::optional(*text) : std::nullopt;
}

std::optional<std::uint32_t> GgufFile::metadata_u32(std::string_view key) const {
  const auto* value = metadata(key);
  return value ? value->as_u32() : std::nullopt;
}

std::optional<std::uint64_t> GgufFile::metadata_u64(std::string_view key) const {
  const auto* value = metadata(key);
  return value ? value->as_u64() : std::nullopt;
}

std::optional<float> GgufFile::metadata_f32(std::string_view key) const {
  const auto* value = metadata(key);
  return value ? value->as_f32() : std::nullopt;
}

std::optional<bool> GgufFile::metadata_bool(std::string_view key) const {
  const auto* value = metadata(key);
  return value ? value->as_bool() : std::nullopt;
}

Result<const TensorInfo*> GgufFile::State::tensor(std::string_view name) const {
  const auto* info = tensor_index.find(tensors, name);
  if (!info) return invalid("{} has no tensor {}", path.string(), shown(name));
  return info;
}

Result<std::span<const std::uint8_t>> GgufFile::State::bytes(const TensorInfo& tensor) const {
  if (!ggml_layout(tensor.ggml_type))
    return error(ErrorKind::UnsupportedDtype, "tensor {} of {} has the unknown type {}", shown(tensor.name),
                 path.string(), static_cast<std::uint32_t>(tensor.ggml_type));
  MLXN_TRY(file(tensor)->check_not_shrunk());
  return file(tensor)->bytes().subspan(tensor.offset, tensor.byte_len);
}

Result<std::span<const std::uint8_t>> GgufFile::tensor_bytes(std::string_view name) const {
  MLXN_ASSIGN(const auto* info, state_->tensor(name));
  return state_->bytes(*info);
}

}  // namespace mlx_native
