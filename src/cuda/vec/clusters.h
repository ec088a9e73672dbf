// How many clusters run at once.
#pragma once

#include <map>
#include <mutex>
#include <tuple>

#include "cuda/launch.h"

namespace mlx_native::cuda {

/// How many clusters of so many groups run at once.
inline std::uint32_t clusters_at_once(const Launch& on, const void* kernel, const Grid& grid) {
  static std::mutex mutex;
  static std::map<std::tuple<int, const void*, std::uint32_t, std::size_t>, std::uint32_t> known;
  const std::lock_guard lock(mutex);
  int device = 0, count = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  const auto [it, fresh] = known.try_emplace({device, kernel, grid.cluster, grid.shared_bytes}, 0);
  if (!fresh) return it->second;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(on.machine.shared_bytes)) != cudaSuccess)
    return 0;
  if (grid.cluster == 1) {
    if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&count, kernel, static_cast<int>(grid.threads),
                                                      grid.shared_bytes) != cudaSuccess)
      return 0;
    count *= static_cast<int>(on.machine.multiprocessors);
  } else {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = grid.cluster;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(grid.cluster * on.machine.multiprocessors);
    config.blockDim = dim3(grid.threads);
    config.dynamicSmemBytes = grid.shared_bytes;
    config.attrs = &attribute;
    config.numAttrs = 1;
    if (cudaOccupancyMaxActiveClusters(&count, kernel, &config) != cudaSuccess) return 0;
  }
  return it->second = static_cast<std::uint32_t>(count);
}

}  // namespace mlx_native::cuda
