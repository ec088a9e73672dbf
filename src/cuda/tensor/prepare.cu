#include <utility>

#include "core/dialect.h"
#include "cuda/order.cuh"
#include "cuda/tensor/prepare.h"
#include "cuda/tensor/row_of_x.cuh"

namespace mlx_native::cuda {

namespace {

// A team of threads packs a row of x together.
constexpr int kTeamThreads = 128, kTeamThreadsOfLongRow = 512;
constexpr uint32_t held_values(int team_threads) { return 16 * kHeldRuns * uint32_t(team_threads); }
constexpr int kTeams = 4, kRouteThreads = kTeams * kTeamThreads;

/// Exclusive sums over the threads of a group of kRouteThreads, and the total. `warps`: a word of shared memory a warp.
__device__ uint32_t scan(uint32_t value, uint32_t* warps, uint32_t* total) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t sum = value;
#pragma unroll
  for (uint32_t apart = 1; apart < 32; apart *= 2) {
    const uint32_t below = __shfl_up_sync(~0u, sum, apart);
    if (lane >= apart) sum += below;
  }
  __syncthreads();
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  uint32_t before = 0, all = 0;
#pragma unroll
  for (uint32_t i = 0; i < kRouteThreads / 32; ++i) {
    const uint32_t other = warps[i];
    if (i < warp) before += other;
    all += other;
  }
  *total = all;
  return before + sum - value;
}

struct PackArgs {
  const float* x;
  uint32_t rows, k;
  PackedX packed;
  uint32_t* behind;  // PackedBehind::taken, or null
};

/// A group per row of x.
template <bool kFull, bool kAligned, int kThreads>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads) pack_kernel(const PackArgs a) {
  __shared__ float largest[kThreads / 32];
  await_previous();
  if (a.behind && blockIdx.x == 0 && threadIdx.x < 2) a.behind[threadIdx.x] = 0;
  allow_next();
  for (uint32_t i = blockIdx.x; i < a.rows; i += gridDim.x) {
    RowOfX<kFull, kAligned, kThreads> row{a.packed, a.x + uint64_t(i) * a.k, a.k};
    row.load();
    row.find_unit(largest);
    if (threadIdx.x == 0) a.packed.unit[i] = row.unit;
    row.store(1, [&](uint32_t) { return i; });
  }
}

struct RouteArgs {
  MatmulIdArgs problem;
  Routing routing;
  PackedX packed;
  uint32_t tile_rows, group_tokens;
  uint32_t wide;  // tiles of experts with more slots come first; or kAllAlike
};
constexpr uint32_t kAllAlike = ~0u;

/// Tells begin(e, row) the first row of expert e, which has count(e) slots. With `lists`, also what tiles there are.
template <class Count, class Begin>
__device__ void place_experts(const RouteArgs& args, uint32_t* warps, bool lists, const Count& count,
                              const Begin& begin) {
  const uint32_t experts = args.problem.n_experts;
  uint32_t rows_before = 0, tiles_before = 0;
  for (uint32_t first = 0; first < experts; first += kRouteThreads) {
    __syncthreads();
    const uint32_t e = first + threadIdx.x, slots = e < experts ? count(e) : 0;
    uint32_t n_rows, n_tiles;
    const uint32_t first_row = rows_before + scan((slots + 7) / 8 * 8, warps, &n_rows);
    if (e < experts) begin(e, first_row);
    rows_before += n_rows;
    if (!lists) continue;
    // Those that come first are counted in the upper half.
    const uint32_t lower = args.wide == kAllAlike ? ~0u : 0xffffu;
    const uint32_t tiles = (slots + args.tile_rows - 1) / args.tile_rows;
    const bool leads = slots > args.wide;
    const uint32_t before = scan(leads ? tiles << 16 : tiles, warps, &n_tiles), leaders = (n_tiles & ~lower) >> 16;
    const uint32_t tile = tiles_before + (leads ? before >> 16 : leaders + (before & lower));
    for (uint32_t i = 0; i < tiles; ++i)
      args.routing.tiles[tile + i] = {e, first_row + i * args.tile_rows,
                                      min(args.tile_rows, slots - i * args.tile_rows)};
    tiles_before += leaders + (n_tiles & lower);
  }
  if (lists) {
    if (threadIdx.x == 0) *args.routing.n_tiles = tiles_before;
    __threadfence();  // the kernel behind reads these before all of this one is done
  }
}

/// Results of a slot without an expert. By a team.
__device__ void refuse(const MatmulIdArgs& a, uint32_t slot) {
  for (uint32_t j = threadIdx.x % kTeamThreads; j < a.n; j += kTeamThreads)
    a.output[uint64_t(slot) * a.n + j] = __uint_as_float(0x7fc00000u);
}

constexpr uint32_t kIdsAtOnce = 8;  // loads under way
/// The experts of kIdsAtOnce slots from `first` on, kRouteThreads apart.
__device__ void load_ids(const MatmulIdArgs& a, uint32_t first, uint32_t (&expert)[kIdsAtOnce]) {
#pragma unroll
  for (uint32_t i = 0; i < kIdsAtOnce; ++i) {
    const uint32_t s = first + i * kRouteThreads;
    expert[i] = s < a.n_tokens * a.top_k ? a.ids[s] : a.n_experts;
  }
}

/// A group has `group_tokens` consecutive tokens, a team one at a time. Each group counts all slots of all experts for
/// itself, which takes less time than to ask another. Within an expert the order of rows is any: a row's result does
/// not depend on its place.
template <bool kFull, bool kAligned>
__global__ void __launch_bounds__(kRouteThreads, 2) route_kernel(const RouteArgs args) {
  const MatmulIdArgs& a = args.problem;
  const Routing& r = args.routing;
  extern __shared__ uint32_t words[];
  uint32_t* const before = words;                 // of each expert: slots of groups before, then its next row
  uint32_t* const others = before + a.n_experts;  // slots of this group and of those behind
  __shared__ uint32_t warps[kRouteThreads / 32];
  __shared__ float largest[kTeams][kTeamThreads / 32];
  const uint32_t team = threadIdx.x / kTeamThreads, thread = threadIdx.x % kTeamThreads;
  uint32_t* const rows = others + a.n_experts + team * a.top_k;  // where the team's token goes
  const uint32_t first_token = blockIdx.x * args.group_tokens;
  const uint32_t end_token = min(first_token + args.group_tokens, a.n_tokens);
  const uint32_t slots = a.n_tokens * a.top_k, first_slot = first_token * a.top_k;
  for (uint32_t e = threadIdx.x; e < 2 * a.n_experts; e += kRouteThreads) words[e] = 0;
  await_previous();
  uint32_t token = first_token + team;
  const auto x_of = [&] { return a.input + uint64_t(min(token, end_token - 1)) * a.k; };
  RowOfX<kFull, kAligned, kTeamThreads, kTeams> row{args.packed, x_of(), a.k};
  row.load();
  __syncthreads();
  for (uint32_t first = threadIdx.x; first < slots; first += kIdsAtOnce * kRouteThreads) {
    uint32_t expert[kIdsAtOnce];
    load_ids(a, first, expert);
#pragma unroll
    for (uint32_t i = 0; i < kIdsAtOnce; ++i)
      if (expert[i] < a.n_experts)
        atomicAdd(&(first + i * kRouteThreads < first_slot ? before : others)[expert[i]], 1u);
  }
  place_experts(
      args, warps, blockIdx.x == 0, [&](uint32_t e) { return before[e] + others[e]; },
      [&](uint32_t e, uint32_t first_row) { before[e] += first_row; });
  __syncthreads();
  allow_next();
  while (token < end_token) {
    row.find_unit(largest[team]);
    for (uint32_t copy = thread; copy < a.top_k; copy += kTeamThreads) {
      const uint32_t slot = token * a.top_k + copy, expert = a.ids[slot];
      uint32_t to = kNoRow;
      if (expert < a.n_experts) {
        to = atomicAdd(&before[expert], 1u);
        if (!r.gathered) args.packed.unit[to] = row.unit;
        r.slot_of[to] = slot;
      }
      rows[copy] = to;
    }
    await_team<kTeamThreads, kTeams>();
    for (uint32_t copy = 0; copy < a.top_k; ++copy)
      if (rows[copy] == kNoRow) refuse(a, token * a.top_k + copy);
    if (r.gathered) {
      if (thread == 0) args.packed.unit[token] = row.unit;
      row.store(1, [&](uint32_t) { return token; });
    } else {
      row.store(a.top_k, [&](uint32_t copy) { return rows[copy]; });
    }
    token += kTeams;
    row.x = x_of();
    row.load();
  }
}

/// The same for no more slots than one group has in registers: the first group routes, and the others, each of kTeams
/// tokens, pack meanwhile, since gathered rows stand where their tokens do. Of 256 slots it takes longer.
constexpr uint32_t kMostSlotsOfOne = kIdsAtOnce * kRouteThreads, kFewestSlotsOfOne = kMostSlotsOfOne / 4;
template <bool kAligned>
__global__ void __launch_bounds__(kRouteThreads, 2) route_apart_kernel(const RouteArgs args) {
  const MatmulIdArgs& a = args.problem;
  if (blockIdx.x > 0) {
    __shared__ float largest[kTeams][kTeamThreads / 32];
    const uint32_t team = threadIdx.x / kTeamThreads, token = (blockIdx.x - 1) * kTeams + team;
    await_previous();
    if (token >= a.n_tokens) return;
    RowOfX<false, kAligned, kTeamThreads, kTeams> row{args.packed, a.input + uint64_t(token) * a.k, a.k};
    row.load();
    for (uint32_t copy = threadIdx.x % 32; copy / 32 * 32 < a.top_k; copy += 32) {
      const uint32_t slot = token * a.top_k + copy;
      uint32_t refused = __ballot_sync(~0u, copy < a.top_k && a.ids[slot] >= a.n_experts);
      for (; refused; refused &= refused - 1) refuse(a, token * a.top_k + copy / 32 * 32 + __ffs(int(refused)) - 1);
    }
    row.find_unit(largest[team]);
    allow_next();  // which fetches weights, behind which x would wait
    if (threadIdx.x % kTeamThreads == 0) args.packed.unit[token] = row.unit;
    row.store(1, [&](uint32_t) { return token; });
    return;
  }
  extern __shared__ uint32_t slots_of[];  // each expert; then its first row
  __shared__ uint32_t warps[kRouteThreads / 32];
  for (uint32_t e = threadIdx.x; e < a.n_experts; e += kRouteThreads) slots_of[e] = 0;
  __syncthreads();
  await_previous();
  uint32_t expert[kIdsAtOnce], rank[kIdsAtOnce];
  load_ids(a, threadIdx.x, expert);
#pragma unroll
  for (uint32_t i = 0; i < kIdsAtOnce; ++i)
    if (expert[i] < a.n_experts) rank[i] = atomicAdd(&slots_of[expert[i]], 1u);
  place_experts(
      args, warps, true, [&](uint32_t e) { return slots_of[e]; },
      [&](uint32_t e, uint32_t first_row) { slots_of[e] = first_row; });
  __syncthreads();
  allow_next();
#pragma unroll
  for (uint32_t i = 0; i < kIdsAtOnce; ++i)
    if (expert[i] < a.n_experts) args.routing.slot_of[slots_of[expert[i]] + rank[i]] = threadIdx.x + i * kRouteThreads;
}

template <class Args>
void start(Launch& on, void (*kernel)(Args), const Grid& grid, const std::type_identity_t<Args>& args, bool overlap) {
  on.start(reinterpret_cast<const void*>(kernel), grid, &args, overlap);
}

bool is_aligned(const float* x, std::uint32_t k) { return reinterpret_cast<uintptr_t>(x) % 16 == 0 && k % 4 == 0; }

__global__ void __launch_bounds__(256) add_parts_kernel(const MatMatProblem p) {
  await_previous();
  const uint64_t all = uint64_t(p.m) * p.n, step = uint64_t(gridDim.x) * 256;
  for (uint64_t i = uint64_t(blockIdx.x) * 256 + threadIdx.x; i < all; i += step) {
    float sum = p.partial[i];
    for (uint32_t part = 1; part < p.parts; ++part) sum += p.partial[part * all + i];
    p.output[i] = sum;
  }
}

}  // namespace

void add_parts(Launch& on, const MatMatProblem& problem) {
  const uint64_t groups = (uint64_t(problem.m) * problem.n + 255) / 256;
  const bool may_overlap = std::exchange(on.may_overlap, true);
  start(on, add_parts_kernel, {uint32_t(std::min<uint64_t>(groups, 4096)), 256}, problem, true);
  on.may_overlap = may_overlap;
}

PackedX pack(Launch& on, const float* x, std::uint32_t rows, std::uint32_t k, const PackedX& to, PackedBehind* behind) {
  if (on.packing && on.packing->serves(x, rows, k, to)) {
    if (behind) *behind = {};
    return on.packing->packed;
  }
  const std::uint32_t now = behind && behind->taken ? behind->first_row : rows;
  const auto start_pack = [&]<int kThreads>(std::uint32_t most) {
    const bool aligned = is_aligned(x, k);
    const auto kernel = to.low    ? aligned ? pack_kernel<true, true, kThreads> : pack_kernel<true, false, kThreads>
                           : aligned ? pack_kernel<false, true, kThreads>
                                  : pack_kernel<false, false, kThreads>;
    start(on, kernel, {std::min(now, most), kThreads}, {x, now, k, to, behind ? behind->taken : nullptr}, true);
  };
  constexpr std::uint32_t kAny = 1u << 20;
  // A row that does not fit its team's registers is read twice, the second time from L2 if few are under way.
  if (k <= held_values(kTeamThreads))
    start_pack.template operator()<kTeamThreads>(kAny);
  else
    start_pack.template operator()<kTeamThreadsOfLongRow>(
        k <= held_values(kTeamThreadsOfLongRow) ? kAny : 2 * on.machine.multiprocessors);
  if (on.packing) *on.packing = {x, rows, k, to};
  return to;
}

void route(Launch& on, const MatmulIdArgs& args, const Routing& routing, std::uint32_t tile_rows,
           const PackedX& packed) {
  const bool aligned = is_aligned(args.input, args.k);
  const std::uint64_t slots = std::uint64_t{args.n_tokens} * args.top_k;
  // Groups take units by turns: they end together where the last are narrow ones. Of few rows an expert, all of whose
  // experts are counted at once.
  const std::uint32_t wide = tile_rows == 64 && args.n_experts <= kRouteThreads
                                 ? static_cast<std::uint32_t>((slots / args.n_experts + 8) / 16 * 16)
                                 : kAllAlike;
  if (routing.gathered && slots >= kFewestSlotsOfOne && slots <= kMostSlotsOfOne)
    return start(on, aligned ? route_apart_kernel<true> : route_apart_kernel<false>,
                 {(args.n_tokens - 1) / kTeams + 2, kRouteThreads, args.n_experts * sizeof(uint32_t)},
                 {args, routing, packed, tile_rows, 0, wide}, true);
  const auto kernel = packed.low ? aligned ? route_kernel<true, true> : route_kernel<true, false>
                      : aligned ? route_kernel<false, true>
                                 : route_kernel<false, false>;
  const std::uint32_t group_tokens =
      std::max((args.n_tokens - 1) / (2 * on.machine.multiprocessors) + 1, std::uint32_t{kTeams});
  start(on, kernel,
        {(args.n_tokens - 1) / group_tokens + 1, kRouteThreads,
         (2 * args.n_experts + kTeams * args.top_k) * sizeof(uint32_t)},
        {args, routing, packed, tile_rows, group_tokens, wide}, true);
}

}  // namespace mlx_native::cuda
