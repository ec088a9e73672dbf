#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/buffer.h"
#include "mlx_native/device.h"
#include "mlx_native/error.h"
#include "mlx_native/gguf.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/ops/precision.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// The shape of a transformer, as its file describes it.
struct ModelConfig {
  std::string architecture;  ///< general.architecture: "qwen3"
  std::string name;          ///< general.name; may be empty
  std::uint32_t n_vocab;
  std::uint32_t n_layers;
  std::uint32_t context_length;  ///< tokens that the model was trained for
  std::uint32_t dim;             ///< of the residual stream
  std::uint32_t n_heads;
  std::uint32_t n_kv_heads;
  std::uint32_t head_dim;
  std::uint32_t ffn_dim;         ///< inner width of the feed-forward network; with experts, of one expert
  std::uint32_t n_experts;       ///< 0: dense
  std::uint32_t n_experts_used;  ///< per token
  bool renormalize_experts;      ///< the weights of the used experts sum to one
  float rms_eps;
  std::uint32_t rope_dim;
  float rope_theta;
  float rope_freq_scale;  ///< every position is multiplied by it
};

/// The values of `general.architecture` that can be loaded.
std::span<const std::string_view> model_architectures();

/// GgufParseError, naming the key, where metadata is missing, of another type, out of range or contradicts itself, and
/// for an unknown architecture.
Result<ModelConfig> read_model_config(const GgufFile& file);

inline constexpr std::uint32_t kDefaultContext = 4096;
inline constexpr std::uint32_t kMaxPrefillChunk = 1u << 14;

struct ModelOptions {
  /// Tokens that the KV cache holds, which grows with it; at most what the model was trained for. 0: that, or
  /// kDefaultContext where it is less.
  std::uint32_t context = 0;
  DType kv_dtype = DType::F32;  ///< F32 or F16
  /// Tokens of a prompt that go through the model at once, 1 to kMaxPrefillChunk; activations grow with it.
  std::uint32_t prefill_chunk = 512;
  Precision precision = Precision::Auto;
};

/// Bytes, all of which are allocated (or mapped) by Model::load().
struct ModelMemory {
  std::uint64_t weights = 0;
  std::uint64_t kv_cache = 0;
  std::uint64_t activations = 0;  ///< logits of one token included
};

/// What Model::load() would take, from the file's header alone. Errors as Model::load() for metadata and options;
/// BufferAllocationError for more than 2^64 bytes.
Result<ModelMemory> memory_needed(const GgufFile& file, const ModelOptions& options = {});

/// A transformer with its weights on a device and the KV cache of one sequence. Several sequences are several models,
/// of the same file and device: on the CPU they share the weights, and threads may run one each. Movable (what was
/// moved from can be assigned to and destroyed, nothing else); used by one thread at a time.
class Model {
 public:
  /// Errors: GgufParseError as read_model_config, and for a tensor that is missing, of another shape, or has no place
  /// in the architecture; UnsupportedDtype, naming the tensor, for weights that cannot be multiplied by;
  /// InvalidArgument for the options; BufferAllocationError, before anything is uploaded, where the KV cache and the
  /// activations, on a GPU the weights too, exceed the device's free memory.
  static Result<Model> load(const GgufFile& file, const MlxDevice& device, const KernelRegistry& registry,
                            const ModelOptions& options = {});
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const ModelConfig& config() const;
  const ModelMemory& memory() const;
  const MlxDevice& device() const;
  const KernelRegistry& registry() const;
  std::uint32_t context() const;
  std::uint32_t prefill_chunk() const;
  /// Tokens in the KV cache: the next token's position.
  std::uint32_t position() const;

  /// Appends `tokens` to the sequence, a chunk at a time. The result is the logits F32 [n_vocab] of the last one, in a
  /// buffer of the model's that the next call overwrites. A single token is a replay of a recorded step.
  /// InvalidArgument for no tokens, an id >= n_vocab, or more tokens than the context has room for; after any error the
  /// position is what it was.
  Result<MlxBuffer> forward(std::span<const std::uint32_t> tokens);
  /// Where forward_next() finds its token: U32 [1], of the model's, written by the host or by a command.
  MlxBuffer next_token() const;
  /// As forward of the token in next_token(), which a command may still be computing, but without waiting where the
  /// device works by itself. An id >= n_vocab gives logits that are NaN, or is InvalidArgument where the host wrote it
  /// and this call records the step. InvalidArgument where the context is full; later errors are returned by wait().
  Result<MlxBuffer> forward_next();
  /// Waits for every forward_next().
  Result<void> wait();
  /// As forward; the logits of all tokens, F32 [tokens, n_vocab], in a buffer of their own (4 n_vocab bytes a token).
  Result<MlxBuffer> forward_all(std::span<const std::uint32_t> tokens);

  /// Forgets the sequence.
  void reset();
  /// Forgets all but the first `position` tokens. InvalidArgument for more than there are.
  Result<void> rewind(std::uint32_t position);

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mlx_native
