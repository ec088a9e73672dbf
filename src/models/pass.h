// One forward pass while it is recorded: a chunk of tokens through the layers, with the memory that they share.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/models/model.h"
#include "models/weights.h"

namespace mlx_native {

/// Keys and values of the tokens so far, for one layer: [n_kv_heads, context, head_dim].
struct KvCache {
  MlxBuffer keys;
  MlxBuffer values;
};

/// What flows between the ops, allocated once for the largest chunk. F32 [tokens, ...] unless said otherwise.
struct Activations {
  MlxBuffer tokens;     ///< U32 ids
  MlxBuffer positions;  ///< U32
  MlxBuffer hidden;     ///< the residual stream, dim
  MlxBuffer normed;     ///< dim
  MlxBuffer branch;     ///< what a block adds to the residual stream, dim
  MlxBuffer query;      ///< n_heads * head_dim
  MlxBuffer key;        ///< n_kv_heads * head_dim
  MlxBuffer value;      ///< n_kv_heads * head_dim
  MlxBuffer attended;   ///< n_heads * head_dim
  MlxBuffer gate;       ///< ffn_dim, for every used expert
  MlxBuffer up;         ///< ffn_dim, for every used expert
  struct Routing {
    MlxBuffer logits;   ///< n_experts
    MlxBuffer ids;      ///< U32 n_experts_used
    MlxBuffer weights;  ///< n_experts_used
    MlxBuffer outputs;  ///< n_experts_used * dim
  };
  std::optional<Routing> routing;
  MlxBuffer logits;  ///< n_vocab, one token

  static Result<Activations> allocate(const MlxDevice& device, const ModelConfig& config, std::uint32_t max_tokens);
  std::uint64_t bytes() const;
};

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

  /// output[rows, n] = input[rows, k] W^T + bias.
  Result<void> linear(const Linear& layer, const MlxBuffer& input, MlxBuffer& output, std::uint32_t rows) const;
  /// Rows of `input` normalised to `output`.
  Result<void> norm(const MlxBuffer& weight, const MlxBuffer& input, MlxBuffer& output, std::uint32_t rows,
                    std::uint32_t dim) const;
  /// hidden += branch.
  Result<void> add_branch() const;
};

}  // namespace mlx_native
