#include "cuda/backend.h"

#include <cuda_runtime_api.h>

#include "cuda/device.h"
#include "cuda/kernels.h"

namespace mlx_native::cuda {

namespace {
bool available() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count > 0;
  (void)cudaGetLastError();
  return false;
}
}  // namespace

detail::BackendEntry backend_entry() { return {Backend::Cuda, available, CudaDevice::create, kernels}; }

}  // namespace mlx_native::cuda
