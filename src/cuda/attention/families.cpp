#include "cuda/attention/families.h"

#include "cuda/attention/split_cache.h"
#include "cuda/attention/token.h"
#include "gpu/launch/attention.h"

namespace mlx_native::cuda {

using namespace detail;

namespace {

/// Rows of queries of a KV head that make a tile of them worthwhile: a whole one.
constexpr std::uint64_t kFewestRows = 128;

bool supports(const AttentionArgs& a) {
  return a.head_dim >= 64 && a.head_dim <= 128 && a.head_dim % 16 == 0 &&
         std::uint64_t{a.n_tokens} * (a.n_heads / a.n_kv_heads) >= kFewestRows && a.kv_capacity < 1u << 31;
}

bool aligned(const AttentionArgs& a) {
  const auto addresses = reinterpret_cast<std::uintptr_t>(a.query) | reinterpret_cast<std::uintptr_t>(a.k_cache) |
                         reinterpret_cast<std::uintptr_t>(a.v_cache) | reinterpret_cast<std::uintptr_t>(a.output);
  return addresses % 16 == 0;
}

std::size_t scratch_bytes(const AttentionArgs& a) {
  return aligned(a) ? (a.f16 ? 0 : SplitCache::bytes(a)) : gpu::Attention::scratch_bytes(a);
}

void launch(const AttentionArgs& a, Launch& on) {
  if (!aligned(a)) return run_family<gpu::Attention>(&a, &on);
  switch (a.head_dim) {
    case 64: return launch_flash<64>(on, a);
    case 80: return launch_flash<80>(on, a);
    case 96: return launch_flash<96>(on, a);
    case 112: return launch_flash<112>(on, a);
    default: return launch_flash<128>(on, a);
  }
}

struct TokenAttention {
  using Args = AttentionArgs;
  using Common = gpu::Attention;
  static bool supports(const Args& a) { return a.n_tokens == 1; }
  static bool f16(const Args& a) { return a.f16; }
};
struct TokenHeadsAttention {
  using Args = HeadsAttentionArgs;
  using Common = gpu::HeadsAttention;
  static bool supports(const Args& a) { return Common::supports(a); }
  static bool f16(const Args& a) { return a.heads.f16; }
};
/// By clusters, or as the common kernels do it.
template <class Family>
void launch_token_family(const void* args, void* launch) {
  const auto& a = *static_cast<const typename Family::Args*>(args);
  Launch& on = *static_cast<Launch*>(launch);
  if (!(Family::f16(a) ? launch_token<std::uint16_t>(on, a) : launch_token<float>(on, a)))
    run_family<typename Family::Common>(args, launch);
}
template <class Family>
Kernel token_kernel_row(std::string_view name, Op op) {
  return {
      .name = std::string(name),
      .backend = Backend::Cuda,
      .op = op,
      .format = {},
      .entry = launch_token_family<Family>,
      .supports = [](const void* args) { return Family::supports(*static_cast<const typename Family::Args*>(args)); }};
}

}  // namespace

std::vector<Kernel> attention_kernels() {
  Kernel token = token_kernel_row<TokenAttention>("cuda.token.attention", Op::Attention);
  token.scratch_bytes = [](const void* args) {
    return gpu::Attention::scratch_bytes(*static_cast<const AttentionArgs*>(args));
  };
  Kernel heads = token_kernel_row<TokenHeadsAttention>("cuda.token.heads_attention", Op::HeadsAttention);
  heads.alone = token.entry;
  return {{.name = "cuda.flash.attention",
           .backend = Backend::Cuda,
           .op = Op::Attention,
           .format = {},
           .entry = [](const void* args,
                       void* on) { launch(*static_cast<const AttentionArgs*>(args), *static_cast<Launch*>(on)); },
           .supports = [](const void* args) { return supports(*static_cast<const AttentionArgs*>(args)); },
           .scratch_bytes = [](const void* args) { return scratch_bytes(*static_cast<const AttentionArgs*>(args)); }},
          token,
          heads};
}

}  // namespace mlx_native::cuda
