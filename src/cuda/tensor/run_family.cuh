#pragma once

#include "cuda/tensor/families.h"

namespace mlx_native::cuda {

template <class Family, class Args>
void run_tensor_family(const void* args, void* launch) {
  Family::launch(*static_cast<Launch*>(launch), *static_cast<const Args*>(args));
}

}  // namespace mlx_native::cuda
