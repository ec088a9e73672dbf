// Blocks to floats, exactly as the format defines them.
#pragma once

#include "args/embedding.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"
#include "formats/format.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format>
K_FN const typename Format::Block* blocks_of(const uint8_t* bytes) {
  return reinterpret_cast<const typename Format::Block*>(bytes);
}

template <class Format>
K_FN void decode_block(const typename Format::Block& block, float* out) {
  constexpr int kRuns = Format::kGroup / 16;
  for (int group = 0; group < Format::kValues / Format::kGroup; ++group) {
    const Affine affine = Format::affine(block, group);
    const Vec scale = splat(affine.scale), offset = splat(affine.offset);
    for (int run = kRuns * group; run < kRuns * (group + 1); ++run) {
      const Run codes = to_run(Format::codes(CodeReader{}, block, run));
      for (int part = 0; part < kRunParts; ++part) {
        Vec value = codes.part[part];
        if constexpr (Format::kBias != 0) value -= float(Format::kBias);
        value *= scale;
        if constexpr (Format::kHasOffset) value += offset;
        store(out + 16 * run + kLanes * part, value);
      }
    }
  }
}

/// `n` values; for a block format a multiple of its block.
template <class Format>
K_FN void decode_row(const typename Format::Block* row, uint64_t n, float* out) {
  if constexpr (Format::kPlain) {
    uint64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(out + i, load_plain<Format>(row + i));
    for (; i < n; ++i) out[i] = Format::value(row[i]);
  } else {
    for (uint64_t i = 0; i < n; i += Format::kValues) decode_block<Format>(*row++, out + i);
  }
}

template <class Format>
void embedding_gather(const EmbeddingArgs& a, Team& team) {
  const Range tokens = team.part(a.n_tokens);
  for (uint64_t t = tokens.begin; t < tokens.end; ++t) {
    float* const out = a.output + t * a.dim;
    if (a.ids[t] < a.n_rows)
      decode_row<Format>(blocks_of<Format>(a.table + a.ids[t] * a.row_bytes), a.dim, out);
    else
      for (uint64_t i = 0; i < a.dim; ++i) out[i] = __builtin_nanf("");
  }
}

template <class Format>
void dequantize(const DequantizeArgs& a, Team& team) {
  const Range blocks = team.part(a.n_blocks, Format::kPlain ? 1024 : 1);
  decode_row<Format>(blocks_of<Format>(a.blocks) + blocks.begin, (blocks.end - blocks.begin) * Format::kValues,
                     a.output + blocks.begin * Format::kValues);
}

}  // namespace mlx_native::cpu::MLXN_ISA
