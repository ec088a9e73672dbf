// Products whose rows of x are routed to experts: a product for each expert that has rows.
#pragma once

#include "cpu/generic/prepared.h"
#include "cpu/generic/route.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Way>
std::size_t routed_scratch(const MatmulIdArgs& a) {
  return route_scratch(a) + Prepared<Way>::bytes(a.n_tokens, a.k);
}

/// make_job(weight, x, rows) is the product of an expert; its run(Range) makes `piece` columns at a time.
template <class Way, class MakeJob>
void routed_product(const MatmulIdArgs& a, Team& team, uint64_t piece, const MakeJob& make_job) {
  const Prepared<Way> x{a.scratch + route_scratch(a)};
  x.make(a.input, a.n_tokens, a.k, team);
  const Route route = make_route(a, team);
  team.barrier();
  for (uint64_t expert = 0; expert < a.n_experts; ++expert) {
    const RowMap rows = route.rows_of(a, expert);
    if (rows.count == 0) continue;
    const auto job = make_job(a.weight + expert * a.expert_stride, x, rows);
    team.share(a.n, piece, [&](Range columns) { job.run(columns); });
  }
  route.fill_bad_rows(a, team);
}

}  // namespace mlx_native::cpu::MLXN_ISA
