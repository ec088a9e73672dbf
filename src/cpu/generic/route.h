// Which rows of x and y a product has: all in order, or those that were routed to one expert.
#pragma once

#include <cstddef>

#include "args/matmul.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Row i of the product is row order[i] of y (i where order is null), made of row order[i] / top_k of x.
struct RowMap {
  const float* input;
  float* output;
  const uint64_t* order;
  uint64_t count;
  uint32_t top_k, k, n;

  K_FN uint64_t y_row(uint64_t i) const { return order ? order[i] : i; }
  K_FN uint64_t x_row(uint64_t i) const { return y_row(i) / top_k; }
  K_FN const float* x(uint64_t i) const { return input + x_row(i) * k; }
  K_FN float* y(uint64_t i) const { return output + y_row(i) * n; }
};

/// The pairs of token and expert, grouped by expert, in ascending order within one; bad ids come last.
struct Route {
  const uint64_t* starts;  // of each expert in `order`, then of the bad ids, then the end
  const uint64_t* order;
  const uint64_t* used;  // how many experts have rows, then which

  K_FN RowMap rows_of(const MatmulIdArgs& a, uint64_t expert) const {
    return {a.input, a.output, order + starts[expert], starts[expert + 1] - starts[expert], a.top_k, a.k, a.n};
  }
  void fill_bad_rows(const MatmulIdArgs& a, Team& team) const {
    const Range columns = team.part(a.n);
    const RowMap rows = rows_of(a, a.n_experts);
    for (uint64_t row = 0; row < rows.count; ++row)
      for (uint64_t i = columns.begin; i < columns.end; ++i) rows.y(row)[i] = __builtin_nanf("");
  }
};

inline std::size_t route_bytes(const MatmulIdArgs& a) {
  const std::size_t pairs = std::size_t{a.n_tokens} * a.top_k;
  return (2 * std::size_t{a.n_experts} + 4 + pairs + 7) / 8 * 64;  // a multiple of 64
}

/// The route in `memory`; who does not `make` it may read it after the next barrier.
inline Route route_at(const MatmulIdArgs& a, uint8_t* memory, bool make) {
  const uint64_t buckets = uint64_t{a.n_experts} + 1, pairs = uint64_t{a.n_tokens} * a.top_k;
  uint64_t* const counts = reinterpret_cast<uint64_t*>(memory);
  uint64_t *const used = counts + buckets + 2, *const order = used + buckets;
  if (make) {
    const auto bucket = [&](uint64_t pair) { return a.ids[pair] < a.n_experts ? a.ids[pair] : a.n_experts; };
    // counts[b + 2] counts bucket b; then counts[b + 1] runs through the places of b and ends where b + 1 starts.
    for (uint64_t b = 0; b < buckets + 2; ++b) counts[b] = 0;
    for (uint64_t pair = 0; pair < pairs; ++pair) ++counts[bucket(pair) + 2];
    used[0] = 0;
    for (uint64_t expert = 0; expert < a.n_experts; ++expert)
      if (counts[expert + 2]) used[++used[0]] = expert;
    for (uint64_t b = 0; b < buckets; ++b) counts[b + 2] += counts[b + 1];
    for (uint64_t pair = 0; pair < pairs; ++pair) order[counts[bucket(pair) + 1]++] = pair;
  }
  return {counts, order, used};
}

}  // namespace mlx_native::cpu::MLXN_ISA
