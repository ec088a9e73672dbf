#include "cuda/tensor/weight_map.h"

namespace mlx_native::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// Of the driver, which is not linked.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  return status == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
}

}  // namespace

cudaError_t map_weights(WeightMap& map, const void* weight, uint64_t row_bytes, uint32_t n, uint32_t experts,
                        uint64_t expert_stride, uint32_t rows, uint32_t bytes, uint32_t unit, bool once) {
  static const Encode encode = find_encode();
  if (!encode) return cudaErrorNotSupported;
  map.bunch_log2 = bunch_log2(row_bytes);
  const uint32_t bunch = 1u << map.bunch_log2;
  const cuuint64_t sizes[3] = {bunch * row_bytes / unit, n / bunch, experts};
  const cuuint64_t strides[2] = {bunch * row_bytes, experts == 1 ? n * row_bytes : expert_stride};
  const cuuint32_t box[3] = {bytes / unit, rows / bunch, 1}, steps[3] = {1, 1, 1};
  const CUtensorMapDataType type = unit == 8   ? CU_TENSOR_MAP_DATA_TYPE_INT64
                                   : unit == 4 ? CU_TENSOR_MAP_DATA_TYPE_UINT32
                                               : CU_TENSOR_MAP_DATA_TYPE_UINT16;
  const CUtensorMapL2promotion promotion =
      once ? CU_TENSOR_MAP_L2_PROMOTION_L2_128B : CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  const CUresult result =
      encode(&map.tensor, type, 3, const_cast<void*>(weight), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_NONE, promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace mlx_native::cuda
