#include <optional>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "files/gguf_state.h"
#include "files/load.h"
#include "files/text.h"
#include "mlx_native/gguf.h"
#include "mlx_native/quantize.h"

namespace mlx_native {

namespace {

std::optional<DType> dtype_of(GgmlType type) {
  switch (type) {
    case GgmlType::F32: return DType::F32;
    case GgmlType::F16: return DType::F16;
    case GgmlType::BF16: return DType::BF16;
    case GgmlType::F64: return DType::F64;
    case GgmlType::I8: return DType::I8;
    case GgmlType::I16: return DType::I16;
    case GgmlType::I32: return DType::I32;
    case GgmlType::I64: return DType::I64;
    default: return std::nullopt;
  }
}

}  // namespace

Result<MlxBuffer> GgufFile::load_tensor(std::string_view name, const MlxDevice& device) const {
  MLXN_ASSIGN(const auto* info, state_->tensor(name));
  MLXN_ASSIGN(const auto bytes, state_->bytes(*info));
  if (const auto dtype = dtype_of(info->ggml_type))
    return load_bytes(device, bytes, state_->file(*info), *dtype, info->shape);
  return load_bytes(device, bytes, state_->file(*info), DType::U8, {bytes.size()});
}

Result<MlxBuffer> GgufFile::load_tensor_f32(std::string_view name, const MlxDevice& device) const {
  MLXN_ASSIGN(const auto* info, state_->tensor(name));
  MLXN_ASSIGN(const auto bytes, state_->bytes(*info));
  if (info->ggml_type == GgmlType::F32) return load_tensor(name, device);
  if (!is_weight_format(info->ggml_type))
    return error(ErrorKind::UnsupportedDtype, "tensor {} of type {} cannot be decoded", shown(name),
                 ggml_type_name(info->ggml_type));
  const auto size = checked_mul(*checked_product(info->shape), sizeof(float));
  if (!size) return error(ErrorKind::BufferAllocationError, "tensor {} is too large to be decoded", shown(name));
  MLXN_ASSIGN(auto buffer, device.alloc_buffer(*size, DType::F32, info->shape));
  MLXN_ASSIGN(const auto values, buffer.as_mut_slice<float>());
  MLXN_TRY(dequantize(info->ggml_type, bytes, values));
  return buffer;
}

}  // namespace mlx_native
