#include "random_blocks.h"

#include <algorithm>
#include <cstring>

#include "command.h"
#include "convert.h"

namespace mlxn {

RandomBlocks::RandomBlocks(mlx_native::GgmlType type, float mean, float deviation, std::uint64_t seed,
                           std::uint32_t threads) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(kRuns * kRunValues);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  const std::span source(reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(float));
  must(convert({source, mlx_native::GgmlType::F32, type, kRunValues, threads},
               [&](std::span<const std::uint8_t> blocks) -> mlx_native::Result<void> {
                 runs_.insert(runs_.end(), blocks.begin(), blocks.end());
                 return {};
               }));
  run_bytes_ = runs_.size() / kRuns;
}

void RandomBlocks::fill(std::span<std::uint8_t> blocks, std::mt19937_64& random) const {
  while (!blocks.empty()) {
    const std::size_t bytes = std::min(run_bytes_, blocks.size());
    std::memcpy(blocks.data(), &runs_[random() % kRuns * run_bytes_], bytes);
    blocks = blocks.subspan(bytes);
  }
}

}  // namespace mlxn
