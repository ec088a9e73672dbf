// Launches of box_kernel. Included by the generated translation units alone.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/vec/box.cuh"
#include "cuda/vec/clusters.h"
#include "cuda/vec/families.h"
#include "cuda/vec/targets.h"

namespace mlx_native::cuda {

/// How x is multiplied: what takes least time. A fifth bit costs digits less, and so does a decode by codes(), which
/// makes bytes; a bias costs halfs less.
template <class Format, std::uint32_t kRows>
constexpr bool kTakesDigits =
    kRows == 2 || !kHasOwnUnit<Format> || std::is_same_v<Format, Q8_0> || std::is_same_v<Format, Q5_K>;
template <class Format, std::uint32_t kRows, bool kHalf>
using BoxOf =
    std::conditional_t<!kHalf && kTakesDigits<Format, kRows>, DigitBox<Format, kRows>, HalfBox<Format, kRows, !kHalf>>;

/// Groups of a cluster, as a power of two: enough that x of up to `rows` rows, which every cluster splits for itself,
/// takes a small part of the time that a cluster's rows of W do, but not so many that they wait for each other, which
/// they do sooner where x is small and their parts are short.
inline std::uint32_t wanted_parts_log2(std::uint32_t rows, std::uint32_t n, std::uint32_t units) {
  constexpr std::uint32_t kLongPart = 6;
  const bool direct = rows > 2 && units <= kMostDirectUnits << kMostPartsLog2;
  const std::uint32_t rows_of_w = rows == 2 ? 7168 : kManyRowsOfW,
                      most = rows == 16 || direct || (rows > 2 && units >> kMostPartsLog2 >= kLongPart) ? kMostPartsLog2
                                                                                                        : 2;
  if (direct && rows > 4 && n <= kManyRowsOfW / 4) return kMostPartsLog2;
  std::uint32_t log2 = 0;
  while (log2 < most && std::uint64_t{n} << log2 < rows_of_w) ++log2;
  return log2;
}

/// Spreads the plan over as many parts as are right for n rows of W, or the fewest more with which shared memory holds
/// as many rows of x as the kernel takes: a row's bits do not depend on how many there are. False where none do.
template <class X>
bool spread_box(BoxPlan& plan, std::uint32_t n, std::size_t bytes) {
  constexpr std::uint32_t kFewestStages = 2 * kBoxTeams;  // with fewer a team would wait for its next one
  std::uint32_t log2 = wanted_parts_log2(X::kShape.rows, n, plan.units);
  while (log2 > 0 && 1u << log2 > plan.units) --log2;
  BoxPlan widest = plan;
  widest.m = X::kShape.rows;
  for (; log2 <= kMostPartsLog2 && 1u << log2 <= plan.units; ++log2)
    if (spread(widest, X::kShape, log2, bytes, kFewestStages)) {
      if (!spread(plan, X::kShape, log2, bytes, kFewestStages)) return false;
      if (plan.direct ? X::kOneStageDirect : std::int64_t{n} < X::kOneStageBelow) plan.early = 1;
      return true;
    }
  return false;
}

inline BoxPlan box_plan(const MatmulArgs& a) {
  BoxPlan plan{};
  plan.input = a.input, plan.m = a.m, plan.k = a.k, plan.units = a.k / 256;
  return plan;
}

/// With `sum` that is residual + product, as well.
template <class X>
void launch_box(Launch& on, const MatmulArgs& a, const float* residual = nullptr, float* sum = nullptr) {
  VecPlan all = vec_plan(a);
  BoxPlan plan = box_plan(a);
  plan.residual = residual, plan.sum = sum;
  const bool fits = add_target(all, a, 1) && spread_box<X>(plan, a.n, on.machine.shared_bytes);
  // Of as many parts: a product's bits do not depend on what is launched with it.
  if (sum) on.followers = {};
  add_followers(on, all, a, 1, [&](const MatmulArgs& b) {
    BoxPlan other = box_plan(b);
    return b.m == a.m && can_copy_rows(b.weight, b.row_bytes, 0) &&
           spread_box<X>(other, b.n, on.machine.shared_bytes) && other.parts_log2 == plan.parts_log2;
  });
  std::copy(all.target, all.target + all.targets, plan.target);
  plan.targets = all.targets, plan.slabs = all.slabs;
  const auto* const kernel = reinterpret_cast<const void*>(&box_kernel<X>);
  Grid grid{0, 32 * kBoxWarps, plan.shared_bytes, 1u << plan.parts_log2};
  const std::uint32_t items = ((plan.slabs - 1) >> plan.step.slabs_log2) + 1;
  const std::uint32_t clusters = fits ? std::min(clusters_at_once(on, kernel, grid), items) : 0;
  if (clusters == 0 && on.status == cudaSuccess) on.status = cudaErrorInvalidConfiguration;
  grid.groups = clusters * grid.cluster;
  if (clusters > 0) plan.full_rounds = plan.slabs / (clusters << plan.step.slabs_log2);
  for (std::uint32_t i = 0; i < plan.targets && on.status == cudaSuccess; ++i)
    on.status =
        map_weights(plan.map[i], plan.target[i].weight, a.row_bytes, plan.target[i].n, 1, 0, 16, plan.pitch, kMapUnit);
  on.start(kernel, grid, &plan, !has_new_weights(on, plan));
}

template <class Format, std::uint32_t kRows, bool kHalf>
bool VecBox<Format, kRows, kHalf>::supports(const Args& a) {
  constexpr std::uint32_t kLong = 12288;
  constexpr std::size_t kHopperBytes = 227 << 10;
  if (a.m < kFewest || a.m > kRows || (kRows == 2 && a.k <= kLong)) return false;
  BoxPlan plan = box_plan(a);
  return a.k % 256 == 0 && a.n < 1u << 31 && can_copy_rows(a.weight, a.row_bytes, 0) && can_load(a.input) &&
         every_device_is_hopper() && spread_box<BoxOf<Format, kRows, kHalf>>(plan, a.n, kHopperBytes);
}

template <class Format, std::uint32_t kRows, bool kHalf>
void VecBox<Format, kRows, kHalf>::launch(Launch& on, const Args& a) {
  launch_box<BoxOf<Format, kRows, kHalf>>(on, a);
}

}  // namespace mlx_native::cuda
