#include "mlx_native/models/model.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "mlx_native/graph.h"
#include "mlx_native/ops/embedding.h"
#include "models/architecture.h"
#include "models/malformed.h"
#include "models/pass.h"

namespace mlx_native {

struct Model::State {
  MlxDevice device;
  KernelRegistry registry;
  ModelConfig config;
  ModelOptions options;
  ModelMemory memory;
  Linear embedding;  // its rows; never multiplied by, unless it is the output as well
  MlxBuffer output_norm;
  Linear output;
  std::unique_ptr<const Layers> layers;
  std::vector<KvCache> kv;
  Activations act;
  std::optional<ComputeGraph> step;  // one token
  std::uint32_t step_keys = 0;       // that its attention is recorded for
  std::uint32_t position = 0;

  Pass pass(CommandEncoder& encoder, std::size_t n_tokens) {
    return {encoder, registry,          device,
            config,  options.precision, act,
            kv,      options.context,   static_cast<std::uint32_t>(n_tokens)};
  }
  Result<void> check(std::span<const std::uint32_t> tokens) const;
  Result<void> set_positions(std::size_t n, std::uint32_t first);
  Result<void> set_input(std::span<const std::uint32_t> tokens, std::uint32_t first_position);
  Result<void> record_layers(Pass& pass);
  Result<void> record_head(const Pass& pass, std::uint32_t first, std::uint32_t rows, MlxBuffer& logits);
  Result<void> start_step();
  Result<void> run(std::span<const std::uint32_t> tokens, std::optional<MlxBuffer>& all_logits);
};

namespace {

Result<ModelOptions> checked_options(ModelOptions options, const ModelConfig& config) {
  if (options.context == 0) options.context = std::min(config.context_length, kDefaultContext);
  if (options.context > config.context_length)
    return invalid("a context of {} tokens; the model was trained for {}", options.context, config.context_length);
  if (options.kv_dtype != DType::F32 && options.kv_dtype != DType::F16)
    return invalid("a KV cache of {}; it can be f32 or f16", dtype_name(options.kv_dtype));
  if (options.precision < Precision::Auto || options.precision > Precision::Int8)
    return invalid("precision is {}, which is none", static_cast<int>(options.precision));
  if (options.prefill_chunk == 0 || options.prefill_chunk > kMaxPrefillChunk)
    return invalid("prefill_chunk is {}; it must be 1 to {}", options.prefill_chunk, kMaxPrefillChunk);
  options.prefill_chunk = std::min(options.prefill_chunk, options.context);
  return options;
}

}  // namespace

Result<ModelMemory> memory_needed(const GgufFile& file, const ModelOptions& options) {
  MLXN_ASSIGN(const ModelConfig config, read_model_config(file));
  MLXN_ASSIGN(const ModelOptions checked, checked_options(options, config));
  return memory_of(file, config, checked);
}

Result<Model> Model::load(const GgufFile& file, const MlxDevice& device, const KernelRegistry& registry,
                          const ModelOptions& options) {
  MLXN_ASSIGN(const ModelConfig config, read_model_config(file));
  MLXN_ASSIGN(const ModelOptions checked, checked_options(options, config));
  if (device.backend() != Backend::Cpu) {  // which leaves weights where they are
    MLXN_ASSIGN(const ModelMemory needed, memory_of(file, config, checked));
    MLXN_TRY(MemoryBudget(device).check("the model", sum_of(needed)));
  }
  WeightLoader weights(file, device);
  MLXN_ASSIGN(Linear embedding, weights.linear("token_embd", config.n_vocab, config.dim));
  MLXN_ASSIGN(MlxBuffer output_norm, weights.vector("output_norm.weight", config.dim));
  Linear output = embedding;
  if (weights.has("output.weight")) {
    MLXN_ASSIGN(output, weights.linear("output", config.n_vocab, config.dim));
  }
  MLXN_ASSIGN(auto layers, find_architecture(config.architecture)(config, weights));
  if (const TensorInfo* unused = weights.unused())
    return malformed("the tensor {} has no place in the architecture {}", unused->name, config.architecture);
  MemoryBudget budget(device);
  MLXN_ASSIGN(auto kv, KvCache::allocate(budget, config, checked));
  ModelMemory memory{.weights = weights.bytes(), .kv_cache = budget.spent()};
  MLXN_ASSIGN(Activations act, Activations::allocate(budget, config, checked.prefill_chunk));
  memory.activations = budget.spent() - memory.kv_cache;
  return Model(std::make_unique<State>(State{device,
                                             registry,
                                             config,
                                             checked,
                                             memory,
                                             std::move(embedding),
                                             std::move(output_norm),
                                             std::move(output),
                                             std::move(layers),
                                             std::move(kv),
                                             std::move(act),
                                             {}}));
}

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const ModelConfig& Model::config() const { return state_->config; }
const ModelMemory& Model::memory() const { return state_->memory; }
const MlxDevice& Model::device() const { return state_->device; }
const KernelRegistry& Model::registry() const { return state_->registry; }
std::uint32_t Model::context() const { return state_->options.context; }
std::uint32_t Model::prefill_chunk() const { return state_->options.prefill_chunk; }
std::uint32_t Model::position() const { return state_->position; }
void Model::reset() { state_->position = 0; }

Result<void> Model::rewind(std::uint32_t position) {
  if (position > state_->position)
    return invalid("rewind to {}; the sequence has {} tokens", position, state_->position);
  state_->position = position;
  return {};
}

Result<void> Model::State::check(std::span<const std::uint32_t> tokens) const {
  if (tokens.empty()) return invalid("forward needs at least one token");
  if (tokens.size() > options.context - position)
    return invalid("{} tokens do not fit: the context of {} holds {} already", tokens.size(), options.context,
                   position);
  for (const std::uint32_t token : tokens)
    if (token >= config.n_vocab) return invalid("token {} of a vocabulary of {}", token, config.n_vocab);
  return {};
}

Result<void> Model::State::set_positions(std::size_t n, std::uint32_t first) {
  MLXN_ASSIGN(const auto positions, act.positions.as_mut_slice<std::uint32_t>());
  std::iota(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(n), first);
  return {};
}

Result<void> Model::State::set_input(std::span<const std::uint32_t> tokens, std::uint32_t first_position) {
  MLXN_ASSIGN(const auto ids, act.tokens.as_mut_slice<std::uint32_t>());
  std::ranges::copy(tokens, ids.begin());
  return set_positions(tokens.size(), first_position);
}

/// From ids to the residual stream behind the last layer.
Result<void> Model::State::record_layers(Pass& pass) {
  MLXN_TRY(embedding_gather_ggml(
      pass.encoder, registry, device, embedding.weight, act.tokens, act.hidden,
      {.n_tokens = pass.n_tokens, .n_rows = config.n_vocab, .dim = config.dim, .ggml_type = embedding.type}));
  return layers->record(pass);
}

/// From the residual stream of tokens [first, first + rows) to their logits.
Result<void> Model::State::record_head(const Pass& pass, std::uint32_t first, std::uint32_t rows, MlxBuffer& logits) {
  const std::size_t row_bytes = std::size_t{config.dim} * sizeof(float);
  MLXN_ASSIGN(const MlxBuffer hidden, act.hidden.slice_view(first * row_bytes, std::size_t{rows} * config.dim));
  MLXN_TRY(pass.norm(output_norm, hidden, act.normed, rows, config.dim));
  return pass.linear(output, act.normed, logits, rows);
}

/// One token, whose id and position are in place.
Result<void> Model::State::start_step() {
  // Attention of few keys is spread otherwise than that of many.
  constexpr std::uint32_t kFewKeys = 512;
  const std::uint32_t keys = position < kFewKeys ? std::min(kFewKeys, options.context) : options.context;
  if (!step || step_keys != keys) {
    if (step) MLXN_TRY(step->wait());
    step.reset();
    step_keys = keys;
    MLXN_ASSIGN(GraphSession session, GraphExecutor(device).begin());
    Pass recording = pass(session.encoder(), 1);
    recording.likely_keys = keys;
    MLXN_TRY(record_layers(recording));
    MLXN_TRY(record_head(recording, 0, 1, act.logits));
    MLXN_ASSIGN(step, session.record());
  }
  return step->start();
}

/// Chunk by chunk; logits of all tokens, or of the last one to act.logits.
Result<void> Model::State::run(std::span<const std::uint32_t> tokens, std::optional<MlxBuffer>& all_logits) {
  for (std::size_t done = 0; done < tokens.size();) {
    const auto chunk = tokens.subspan(done, std::min<std::size_t>(options.prefill_chunk, tokens.size() - done));
    const auto n = static_cast<std::uint32_t>(chunk.size());
    MLXN_TRY(set_input(chunk, position + static_cast<std::uint32_t>(done)));
    MLXN_ASSIGN(CommandEncoder encoder, device.command_encoder());
    Pass recording = pass(encoder, n);
    MLXN_TRY(record_layers(recording));
    if (all_logits) {
      MLXN_ASSIGN(MlxBuffer rows,
                  all_logits->slice_view(done * config.n_vocab * sizeof(float), std::size_t{n} * config.n_vocab));
      MLXN_TRY(record_head(recording, 0, n, rows));
    } else if (done + n == tokens.size()) {
      MLXN_TRY(record_head(recording, n - 1, 1, act.logits));
    }
    MLXN_TRY(encoder.commit_and_wait());
    done += n;
  }
  return {};
}

Result<MlxBuffer> Model::forward(std::span<const std::uint32_t> tokens) {
  MLXN_TRY(state_->check(tokens));
  if (tokens.size() == 1) {
    MLXN_TRY(state_->set_input(tokens, state_->position));
    MLXN_TRY(state_->start_step());
    MLXN_TRY(wait());
  } else {
    std::optional<MlxBuffer> last_only;
    MLXN_TRY(state_->run(tokens, last_only));
  }
  state_->position += static_cast<std::uint32_t>(tokens.size());
  return state_->act.logits.reinterpret(DType::F32, {state_->config.n_vocab});
}

MlxBuffer Model::next_token() const { return *state_->act.tokens.slice_view(0, 1); }

Result<MlxBuffer> Model::forward_next() {
  State& state = *state_;
  if (state.position == state.options.context)
    return invalid("the context of {} tokens is full", state.options.context);
  MLXN_TRY(state.set_positions(1, state.position));
  MLXN_TRY(state.start_step());
  ++state.position;
  return state.act.logits.reinterpret(DType::F32, {state.config.n_vocab});
}

Result<void> Model::wait() {
  if (!state_->step) return {};
  return state_->step->wait();
}

Result<MlxBuffer> Model::forward_all(std::span<const std::uint32_t> tokens) {
  MLXN_TRY(state_->check(tokens));
  const std::size_t n_vocab = state_->config.n_vocab;
  MLXN_ASSIGN(std::optional<MlxBuffer> logits, state_->device.alloc_buffer(tokens.size() * n_vocab * sizeof(float),
                                                                           DType::F32, {tokens.size(), n_vocab}));
  MLXN_TRY(state_->run(tokens, logits));
  state_->position += static_cast<std::uint32_t>(tokens.size());
  return *std::move(logits);
}

}  // namespace mlx_native
