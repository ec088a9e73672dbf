#include "models/weights.h"

#include "models/malformed.h"

namespace mlx_native {
namespace {

std::string shape_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace

Result<const TensorInfo*> WeightLoader::find(const std::string& name, const Shape& shape) {
  const TensorInfo* info = file_.tensor_info(name);
  if (!info) return malformed("the tensor {} is missing", name);
  if (info->shape != shape)
    return malformed("the tensor {} has the shape {}, but the model needs {}", name, shape_text(info->shape),
                     shape_text(shape));
  if (!is_weight_format(info->ggml_type))
    return error(ErrorKind::UnsupportedDtype, "the tensor {} is of the type {}, which is not supported", name,
                 ggml_type_name(info->ggml_type));
  for (const std::size_t extent : shape)
    if (extent > INT32_MAX)
      return malformed("the tensor {} has the shape {}; 2^31 - 1 is the largest extent", name, shape_text(shape));
  used_.insert(name);
  return info;
}

Result<MlxBuffer> WeightLoader::matrix(const TensorInfo& info) {
  MLXN_ASSIGN(MlxBuffer buffer, file_.load_tensor(info.name, device_));
  bytes_ += buffer.byte_len();
  return buffer;
}

Result<Linear> WeightLoader::linear(const std::string& name, std::uint64_t n, std::uint64_t k) {
  MLXN_ASSIGN(const TensorInfo* info, find(name + ".weight", {n, k}));
  MLXN_ASSIGN(MlxBuffer weight, matrix(*info));
  Linear linear{std::move(weight), info->ggml_type, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(k), {}};
  if (has(name + ".bias")) {
    MLXN_ASSIGN(linear.bias, vector(name + ".bias", n));
  }
  return linear;
}

Result<ExpertLinear> WeightLoader::experts(const std::string& name, std::uint64_t n_experts, std::uint64_t n,
                                           std::uint64_t k) {
  MLXN_ASSIGN(const TensorInfo* info, find(name + ".weight", {n_experts, n, k}));
  MLXN_ASSIGN(MlxBuffer weight, matrix(*info));
  return ExpertLinear{std::move(weight),
                      info->ggml_type,
                      static_cast<std::uint32_t>(n_experts),
                      static_cast<std::uint32_t>(n),
                      static_cast<std::uint32_t>(k),
                      info->byte_len / n_experts};
}

Result<MlxBuffer> WeightLoader::vector(const std::string& name, std::uint64_t n) {
  MLXN_ASSIGN(const TensorInfo* info, find(name, {n}));
  MLXN_ASSIGN(MlxBuffer buffer, info->ggml_type == GgmlType::F32 ? file_.load_tensor(name, device_)
                                                                 : file_.load_tensor_f32(name, device_));
  bytes_ += buffer.byte_len();
  return buffer;
}

const TensorInfo* WeightLoader::unused() const {
  for (const TensorInfo& info : file_.tensors())
    if (!used_.contains(info.name)) return &info;
  return nullptr;
}

}  // namespace mlx_native
