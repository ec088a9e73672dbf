#include "runtime/work.h"

#include <algorithm>
#include <set>
#include <span>

#include "args/attention.h"
#include "args/embedding.h"
#include "args/fused.h"
#include "args/matmul.h"
#include "core/error.h"

namespace mlx_native::detail {

namespace {

constexpr std::uint64_t kFloat = sizeof(float);

/// `count` words at an address of the device that the command declared, on the host; none where they cannot be had.
std::span<const std::uint32_t> words(const Command& command, const std::uint32_t* address, std::uint64_t count) {
  const auto* const wanted = reinterpret_cast<const std::byte*>(address);
  for (const Use& use : command.uses) {
    const std::byte* const base = use.storage->device_address();
    if (wanted < base + use.begin || wanted + count * sizeof *address > base + use.end) continue;
    if (const auto host = use.storage->host(false))
      return {reinterpret_cast<const std::uint32_t*>(*host + (wanted - base)), count};
  }
  return {};
}

Work product(const MatmulArgs& a) {
  const std::uint64_t m = a.m, n = a.n, k = a.k;
  return {fmt::format("{} x {}, m = {}", n, k, m), n * a.row_bytes + kFloat * m * (n + k),
          2.0 * static_cast<double>(m * n) * a.k};
}

Work routed_product(const Command& command, const MatmulIdArgs& a) {
  const std::uint64_t n = a.n, k = a.k, tokens = a.n_tokens, rows = tokens * a.top_k;
  const auto ids = words(command, a.ids, rows);
  const std::uint64_t experts = std::set<std::uint32_t>(ids.begin(), ids.end()).size();
  return {fmt::format("{} of {} x {} x {}, m = {}", a.top_k, a.n_experts, n, k, tokens),
          experts * n * a.row_bytes + kFloat * (tokens * k + rows * (n + 1)),
          2.0 * static_cast<double>(rows * n) * a.k};
}

/// `count` products like one, of the same input.
Work products(Work one, int count) {
  one.bytes *= static_cast<std::uint64_t>(count);
  one.operations *= count;
  return one;
}

Work attention(const Command& command, const AttentionArgs& a) {
  const std::uint64_t head_dim = a.head_dim, element = a.f16 ? 2 : 4;
  std::uint64_t pairs = 0, cached = 0;  // of queries and keys; positions of the cache that some query sees
  const auto positions = words(command, a.positions, a.n_tokens);
  const auto visible = [&](std::uint64_t until) {
    const std::uint64_t limit = a.sliding_window ? std::min(a.sliding_window, a.kv_capacity) : a.kv_capacity;
    return std::min<std::uint64_t>(until + 1, limit);
  };
  for (const std::uint32_t position : positions) pairs += visible(a.causal ? position : positions.back());
  if (!positions.empty())
    cached = std::min<std::uint64_t>(visible(positions.back()) + a.n_tokens - 1, positions.back() + std::uint64_t{1});
  return {fmt::format("{} heads of {}, m = {}", a.n_heads, head_dim, a.n_tokens),
          2 * element * cached * a.n_kv_heads * head_dim + 2 * kFloat * a.n_tokens * a.n_heads * head_dim,
          4.0 * static_cast<double>(pairs * a.n_heads * head_dim)};
}

Work declared(const Command& command) {
  Work work;
  for (const Use& use : command.uses) work.bytes += use.end - use.begin;
  return work;
}

}  // namespace

Work work_of(const Command& command) {
  switch (command.kernel->op) {
    case Op::MatVec:
    case Op::MatMat: return product(args_of<MatmulArgs>(command));
    case Op::MatVecId:
    case Op::MatMatId: return routed_product(command, args_of<MatmulIdArgs>(command));
    case Op::FusedMatVec: {
      const auto a = args_of<FusedMatmulArgs>(command);
      return products(product(a.product), a.up ? 2 : 1);
    }
    case Op::FusedMatVecId: return products(routed_product(command, args_of<FusedMatmulIdArgs>(command).product), 2);
    case Op::Attention: return attention(command, args_of<AttentionArgs>(command));
    case Op::EmbeddingGather: {  // a few rows of the table
      const auto a = args_of<EmbeddingArgs>(command);
      return {{}, a.n_tokens * (a.row_bytes + kFloat * (std::uint64_t{a.dim} + 1)), 0};
    }
    case Op::KvCacheWrite: {  // a few positions of the cache
      const auto a = args_of<KvCacheWriteArgs>(command);
      const std::uint64_t values = std::uint64_t{a.n_tokens} * a.n_kv_heads * a.head_dim;
      return {{}, values * (kFloat + (a.f16 ? 2 : 4)), 0};
    }
    default: return declared(command);
  }
}

}  // namespace mlx_native::detail
