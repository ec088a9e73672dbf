#include <new>
#include <utility>

#include "core/error.h"
#include "files/load.h"
#include "files/safetensors_state.h"
#include "files/text.h"
#include "mlx_native/safetensors.h"

namespace mlx_native {

Result<SafetensorsFile> detail::SafetensorsAccess::parse(std::shared_ptr<const MappedFile> file) {
  auto header = parse_safetensors(file->bytes());
  if (!header) return error(header.error().kind, "{}: {}", file->path().string(), header.error().message);
  return SafetensorsFile(
      std::make_shared<SafetensorsFile::State>(SafetensorsFile::State{std::move(file), std::move(*header)}));
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) try {
  MLXN_ASSIGN(auto file, MappedFile::open(path));
  return detail::SafetensorsAccess::parse(std::move(file));
} catch (const std::bad_alloc&) {
  return error(ErrorKind::BufferAllocationError, "out of memory while the header of a safetensors file was read");
}

std::span<const SafetensorsInfo> SafetensorsFile::tensors() const { return state_->header.tensors; }

std::vector<std::string> SafetensorsFile::tensor_names() const {
  std::vector<std::string> names;
  for (const auto& tensor : tensors()) names.push_back(tensor.name);
  return names;
}

const SafetensorsInfo* SafetensorsFile::tensor_info(std::string_view name) const {
  return state_->header.tensor_index.find(state_->header.tensors, name);
}

std::vector<std::string> SafetensorsFile::metadata_keys() const {
  std::vector<std::string> keys;
  for (const auto& entry : state_->header.metadata) keys.push_back(entry.key);
  return keys;
}

std::optional<std::string> SafetensorsFile::metadata(std::string_view key) const {
  const auto* entry = state_->header.metadata_index.find(state_->header.metadata, key);
  return entry ? std::optional(entry->value) : std::nullopt;
}

Result<std::span<const std::uint8_t>> SafetensorsFile::tensor_bytes(std::string_view name) const {
  const auto* info = tensor_info(name);
  if (!info) return invalid("{} has no tensor {}", state_->file->path().string(), shown(name));
  MLXN_TRY(state_->file->check_not_shrunk());
  return state_->file->bytes().subspan(info->offset, info->byte_len);
}

Result<MlxBuffer> SafetensorsFile::load_tensor(std::string_view name, const MlxDevice& device) const {
  MLXN_ASSIGN(const auto bytes, tensor_bytes(name));
  const auto& info = *tensor_info(name);
  if (!info.dtype)
    return error(ErrorKind::UnsupportedDtype, "tensor {} of {} has the dtype {}, which no buffer holds", shown(name),
                 state_->file->path().string(), shown(info.dtype_text));
  if (bytes.empty()) return invalid("tensor {} of {} is empty", shown(name), state_->file->path().string());
  return load_bytes(device, bytes, state_->file, *info.dtype, info.shape);
}

}  // namespace mlx_native
