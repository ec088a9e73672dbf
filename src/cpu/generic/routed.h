// Products whose rows of x are routed to experts: a product for each expert that has rows.
#pragma once

#include "cpu/generic/prepared.h"
#include "cpu/generic/route.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Way>
std::size_t routed_scratch(const MatmulIdArgs& a) {
  return route_bytes(a) + Prepared<Way>::bytes(a.n_tokens, a.k);
}

/// At most so many experts have rows.
inline uint64_t products_of(const MatmulIdArgs& a) {
  const uint64_t pairs = uint64_t{a.n_tokens} * a.top_k;
  return pairs < a.n_experts ? pairs : a.n_experts;
}

/// make_job(weight, x, rows) is the product of an expert; its run(Range) makes some columns.
/// `alone`: every worker makes route and x in its own memory, which has room for routed_scratch.
template <class Way, class MakeJob>
void routed_product(const MatmulIdArgs& a, Team& team, Pieces pieces, bool alone, const MakeJob& make_job) {
  uint8_t* const memory = alone ? reinterpret_cast<uint8_t*>(team.local()) : a.scratch;
  const Prepared<Way> x{memory + route_bytes(a), a.n_tokens};
  const Route route = route_at(a, memory, alone || team.index() == 0);
  if (alone) {
    x.make(a.input, a.k, {0, a.n_tokens * x.pieces(a.k)});
  } else {
    x.make(a.input, a.n_tokens, a.k, team);
    team.barrier();
  }
  // All experts are one loop, so that workers meet once and each has experts of its own.
  const uint64_t of_expert = (a.n + pieces.grain - 1) / pieces.grain;
  const auto run = [&](Range grains) {
    for (uint64_t i = grains.begin; i < grains.end;) {
      const uint64_t expert = route.used[1 + i / of_expert], first = i % of_expert;
      const uint64_t left = grains.end - i, count = left < of_expert - first ? left : of_expert - first;
      const uint64_t end = (first + count) * pieces.grain;
      const auto job = make_job(a.weight + expert * a.expert_stride, x, route.rows_of(a, expert));
      job.run(Range{first * pieces.grain, end < a.n ? end : a.n});
      i += count;
    }
  };
  team.share(route.used[0] * of_expert, {1, pieces.most}, run);
  route.fill_bad_rows(a, team);
}

}  // namespace mlx_native::cpu::MLXN_ISA
