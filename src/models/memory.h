// The memory of a model: how much it needs, the KV cache, and the activations that flow between the ops.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"
#include "mlx_native/models/model.h"

namespace mlx_native {

/// Hands out memory as long as it fits what was free at first: systems promise more than they have, and kill the
/// process when it touches it.
class MemoryBudget {
 public:
  explicit MemoryBudget(const MlxDevice& device) : device_(device), left_(device.free_memory()) {}

  /// BufferAllocationError, naming `what`, unless so many bytes (nullopt: more than 2^64) are left.
  Result<void> check(std::string_view what, std::optional<std::uint64_t> bytes) const;
  Result<MlxBuffer> alloc(std::string_view what, DType dtype, const Shape& shape);
  /// Bytes handed out.
  std::uint64_t spent() const { return spent_; }

 private:
  const MlxDevice& device_;
  std::uint64_t left_;
  std::uint64_t spent_ = 0;
};

/// Keys and values of the tokens so far, for one layer: [n_kv_heads, context, head_dim].
struct KvCache {
  MlxBuffer keys;
  MlxBuffer values;

  /// Of all layers; nullopt: more than 2^64.
  static std::optional<std::uint64_t> bytes(const ModelConfig& config, const ModelOptions& options);
  static Result<std::vector<KvCache>> allocate(MemoryBudget& memory, const ModelConfig& config,
                                               const ModelOptions& options);
};

/// Allocated once, for the largest chunk. F32 [tokens, width of the comment] unless said otherwise.
struct Activations {
  MlxBuffer tokens;                      ///< U32 ids
  MlxBuffer positions;                   ///< U32
  MlxBuffer hidden;                      ///< the residual stream, dim
  MlxBuffer normed;                      ///< dim
  MlxBuffer branch;                      ///< what a block adds to the residual stream, dim
  MlxBuffer query;                       ///< n_heads * head_dim
  MlxBuffer key;                         ///< n_kv_heads * head_dim
  MlxBuffer rotated_query, rotated_key;  ///< likewise
  MlxBuffer value;                       ///< n_kv_heads * head_dim
  MlxBuffer attended;                    ///< n_heads * head_dim
  MlxBuffer gate;                        ///< ffn_dim, for every used expert
  MlxBuffer up;                          ///< ffn_dim, for every used expert
  MlxBuffer logits;                      ///< n_vocab, one token
  struct Routing {
    MlxBuffer logits;   ///< n_experts
    MlxBuffer ids;      ///< U32 n_experts_used
    MlxBuffer weights;  ///< n_experts_used
    MlxBuffer outputs;  ///< n_experts_used * dim
  };
  std::optional<Routing> routing;  ///< with experts

  /// Nullopt: more than 2^64.
  static std::optional<std::uint64_t> bytes(const ModelConfig& config, std::uint32_t max_tokens);
  static Result<Activations> allocate(MemoryBudget& memory, const ModelConfig& config, std::uint32_t max_tokens);
};

/// What a model of the file takes with these options, which were checked. BufferAllocationError for more than 2^64
/// bytes.
Result<ModelMemory> memory_of(const GgufFile& file, const ModelConfig& config, const ModelOptions& options);

/// Nullopt: more than 2^64.
std::optional<std::uint64_t> sum_of(const ModelMemory& memory);

}  // namespace mlx_native
