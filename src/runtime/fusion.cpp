#include "runtime/fusion.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

#include "args/attention.h"
#include "args/elementwise.h"
#include "args/fused.h"
#include "args/norm.h"
#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native::detail {

namespace {

/// Takes commands one after the other, as long as they are what is asked for.
class Reader {
 public:
  Reader(Backend backend, std::span<const Command> commands) : backend_(backend), commands_(commands) {}

  /// The arguments of the next command if it is of the op, by the kernel that is chosen by itself.
  template <class Args>
  std::optional<Args> peek(Op op) const {
    if (at_ == commands_.size()) return {};
    const Command& command = commands_[at_];
    if (command.kernel->op != op || command.kernel != RegistryAccess::first(backend_, op)) return {};
    Args args;
    std::memcpy(&args, command.args.data(), sizeof args);
    return args;
  }
  template <class Args>
  std::optional<Args> take(Op op) {
    auto args = peek<Args>(op);
    if (args) ++at_;
    return args;
  }
  std::size_t taken() const { return at_; }

 private:
  Backend backend_;
  std::span<const Command> commands_;
  std::size_t at_ = 0;
};

struct Bytes {
  const void* begin;
  std::uint64_t count;

  bool overlaps(const Bytes& other) const {
    const auto* const a = static_cast<const std::byte*>(begin);
    const auto* const b = static_cast<const std::byte*>(other.begin);
    return count && other.count && a < b + other.count && b < a + count;
  }
};
Bytes floats(const float* begin, std::uint64_t rows, std::uint64_t columns = 1) {
  return {begin, rows * columns * sizeof(float)};
}

/// What is written shares no byte with anything else.
bool apart(std::span<const Bytes> written, std::span<const Bytes> read) {
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      if (written[i].overlaps(written[j])) return false;
    for (const Bytes& bytes : read)
      if (written[i].overlaps(bytes)) return false;
  }
  return true;
}

std::optional<HeadsToCacheArgs> heads_to_cache(Reader& commands) {
  const auto query_norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  const auto query = commands.take<RopeArgs>(Op::Rope);
  const auto key_norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  const auto key = commands.take<RopeArgs>(Op::Rope);
  const auto keys = commands.take<KvCacheWriteArgs>(Op::KvCacheWrite);
  const auto values = commands.take<KvCacheWriteArgs>(Op::KvCacheWrite);
  if (!query || !key || !keys || !values) return {};
  const RopeArgs& q = *query;
  const RopeArgs& k = *key;
  const auto normed_in_place = [](const std::optional<RmsNormArgs>& norm, const RopeArgs& rope) {
    return !norm || (norm->input == rope.input && norm->output == rope.input && norm->dim == rope.head_dim &&
                     norm->rows == std::uint64_t{rope.n_tokens} * rope.n_heads);
  };
  const auto written_from = [&](const KvCacheWriteArgs& write) {
    return write.positions == q.positions && write.n_tokens == q.n_tokens && write.n_kv_heads == k.n_heads &&
           write.head_dim == q.head_dim && write.kv_capacity == keys->kv_capacity && write.f16 == keys->f16;
  };
  const bool same = q.positions == k.positions && q.freq_factors == k.freq_factors && q.n_tokens == k.n_tokens &&
                    q.head_dim == k.head_dim && q.rope_dim == k.rope_dim && q.adjacent == k.adjacent &&
                    q.pair_split == k.pair_split && q.theta == k.theta && q.freq_scale == k.freq_scale &&
                    (!query_norm || !key_norm || query_norm->eps == key_norm->eps);
  const bool in_place = q.input == q.output && k.input == k.output && normed_in_place(query_norm, q) &&
                        normed_in_place(key_norm, k) && keys->input == k.output;
  if (!same || !in_place || !written_from(*keys) || !written_from(*values)) return {};
  const std::uint64_t dim = q.head_dim, tokens = q.n_tokens;
  const std::uint64_t cache_bytes = std::uint64_t{keys->n_kv_heads} * keys->kv_capacity * dim * (keys->f16 ? 2 : 4);
  const Bytes written[] = {floats(q.output, tokens * q.n_heads, dim),
                           floats(k.output, tokens * k.n_heads, dim),
                           {keys->cache, cache_bytes},
                           {values->cache, cache_bytes}};
  const Bytes read[] = {floats(values->input, tokens * k.n_heads, dim),
                        floats(q.freq_factors, q.freq_factors ? q.rope_dim / 2 : 0),
                        {q.positions, tokens * sizeof(std::uint32_t)},
                        floats(query_norm ? query_norm->weight : nullptr, query_norm ? dim : 0),
                        floats(key_norm ? key_norm->weight : nullptr, key_norm ? dim : 0)};
  if (!apart(written, read)) return {};
  return HeadsToCacheArgs{.query = q.output,
                          .key = k.output,
                          .value = values->input,
                          .query_norm = query_norm ? query_norm->weight : nullptr,
                          .key_norm = key_norm ? key_norm->weight : nullptr,
                          .positions = q.positions,
                          .freq_factors = q.freq_factors,
                          .k_cache = keys->cache,
                          .v_cache = values->cache,
                          .f16 = keys->f16,
                          .n_tokens = q.n_tokens,
                          .n_heads = q.n_heads,
                          .n_kv_heads = k.n_heads,
                          .head_dim = q.head_dim,
                          .kv_capacity = keys->kv_capacity,
                          .rope_dim = q.rope_dim,
                          .adjacent = q.adjacent,
                          .pair_split = q.pair_split,
                          .theta = q.theta,
                          .freq_scale = q.freq_scale,
                          .eps = query_norm ? query_norm->eps
                                 : key_norm ? key_norm->eps
                                            : 0.0f};
}

std::optional<AddNormArgs> add_norm(Reader& commands) {
  const auto add = commands.take<BinaryArgs>(Op::Add);
  const auto norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  if (!add || !norm) return {};
  const std::uint64_t rows = add->rows, dim = add->cols;
  if (add->b_rows != add->rows || norm->input != add->output || norm->rows != rows || norm->dim != dim) return {};
  // a and b may be where the sum goes to: each value is read before it is written. But nothing else.
  const Bytes a = floats(add->a, rows, dim), b = floats(add->b, rows, dim), sum = floats(add->output, rows, dim);
  if ((add->a != add->output && a.overlaps(sum)) || (add->b != add->output && b.overlaps(sum))) return {};
  const Bytes weight = floats(norm->weight, dim), output = floats(norm->output, rows, dim);
  const Bytes read[] = {a, b, weight};
  if (sum.overlaps(output) || sum.overlaps(weight) || !apart({&output, 1}, read)) return {};
  return AddNormArgs{.a = add->a,
                     .b = add->b,
                     .sum = add->output,
                     .weight = norm->weight,
                     .output = norm->output,
                     .rows = add->rows,
                     .dim = add->cols,
                     .eps = norm->eps};
}

template <class Args>
std::optional<Command> command_of(Device& device, Op op, const std::optional<Args>& args) {
  static_assert(sizeof(Args) <= kMaxArgsBytes);
  if (!args) return {};
  auto kernel = RegistryAccess::first(device.backend(), op);
  if (!kernel || (kernel->supports && !kernel->supports(&*args))) return {};
  Command command{.kernel = std::move(kernel), .uses = {}, .args_size = sizeof(Args), .args = {}};
  std::memcpy(command.args.data(), &*args, sizeof(Args));
  return command;
}

}  // namespace

Result<std::vector<Command>> fuse(Device& device, std::vector<Command> commands) {
  const Backend backend = device.backend();
  if (!RegistryAccess::first(backend, Op::HeadsToCache) && !RegistryAccess::first(backend, Op::AddNorm))
    return commands;
  std::vector<Command> fused;
  for (std::size_t i = 0; i < commands.size();) {
    const auto rest = std::span(commands).subspan(i);
    Reader heads(backend, rest), sums(backend, rest);
    std::size_t count = 0;
    auto command = command_of(device, Op::HeadsToCache, heads_to_cache(heads));
    if (command) {
      count = heads.taken();
    } else if ((command = command_of(device, Op::AddNorm, add_norm(sums)))) {
      count = sums.taken();
    } else {
      fused.push_back(std::move(commands[i++]));
      continue;
    }
    MLXN_TRY(device.prepare_kernel(*command->kernel));
    for (Command& replaced : std::span(commands).subspan(i, count)) {
      command->barrier |= replaced.barrier;
      std::ranges::move(replaced.uses, std::back_inserter(command->uses));
    }
    fused.push_back(*std::move(command));
    i += count;
  }
  // Barriers that replaced commands asked for are in another place now.
  HazardTracker hazards;
  for (Command& command : fused) command.barrier |= hazards.add(command.uses);
  return fused;
}

}  // namespace mlx_native::detail
