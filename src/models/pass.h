// One forward pass while it is recorded: a chunk of tokens through the layers, with the memory that they share.
#pragma once

#include <cstdint>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/models/model.h"
#include "models/memory.h"
#include "models/weights.h"

namespace mlx_native {

struct Pass {
  CommandEncoder& encoder;
  const KernelRegistry& registry;
  const MlxDevice& device;
  const ModelConfig& config;
  Precision precision;
  Activations& act;
  std::vector<KvCache>& kv;
  std::uint32_t context;
  std::uint32_t n_tokens;
  std::uint32_t likely_keys = 0;  // of attention; 0: all of the context

  /// output[rows, n] = input[rows, k] W^T + bias.
  Result<void> linear(const Linear& layer, const MlxBuffer& input, MlxBuffer& output, std::uint32_t rows) const;
  /// Rows of `input` normalised to `output`.
  Result<void> norm(const MlxBuffer& weight, const MlxBuffer& input, MlxBuffer& output, std::uint32_t rows,
                    std::uint32_t dim) const;
  /// hidden += branch.
  Result<void> add_branch() const;
};

}  // namespace mlx_native
