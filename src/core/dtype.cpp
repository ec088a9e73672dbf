#include "mlx_native/dtype.h"

namespace mlx_native {

std::size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::U8:
    case DType::I8: return 1;
    case DType::F16:
    case DType::BF16:
    case DType::U16:
    case DType::I16: return 2;
    case DType::F32:
    case DType::U32:
    case DType::I32: return 4;
    case DType::I64:
    case DType::U64:
    case DType::F64: return 8;
  }
  return 0;
}

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::F32: return "f32";
    case DType::F16: return "f16";
    case DType::BF16: return "bf16";
    case DType::U8: return "u8";
    case DType::U16: return "u16";
    case DType::U32: return "u32";
    case DType::I32: return "i32";
    case DType::I8: return "i8";
    case DType::I16: return "i16";
    case DType::I64: return "i64";
    case DType::U64: return "u64";
    case DType::F64: return "f64";
  }
  return "unknown";
}

}  // namespace mlx_native
