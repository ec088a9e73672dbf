// Blocks to floats, exactly as the format defines them.
#pragma once

#include "args/embedding.h"
#include "cpu/simd/simd.h"
#if defined(MLXN_FACTORS_HEADER)
#include MLXN_FACTORS_HEADER
#endif
#include "cpu/team.h"
#include "formats/format.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format>
concept HasGroupBytes = requires(const typename Format::Block& block) {
  Format::group_bytes(ScalarReader<2>{}, block);
};

/// Small integers as factors of 8 or 16 groups, by one of the names that format.h has for them.
template <class Format>
concept HasSmallFactors = HasGroupBytes<Format> || requires(const typename Format::Block& block) {
  Format::block_factors(ScalarReader<2>{}, block);
};
template <HasSmallFactors Format, class Reader>
K_FN auto small_factors(Reader reader, const typename Format::Block& block) {
  if constexpr (HasGroupBytes<Format>)
    return Format::group_bytes(reader, block);
  else
    return Format::block_factors(reader, block);
}

template <class Format>
K_FN const typename Format::Block* blocks_of(const uint8_t* bytes) {
  return reinterpret_cast<const typename Format::Block*>(bytes);
}

/// The scales and offsets of a block's groups.
template <class Format>
struct Affines {
  static constexpr int kGroups = Format::kValues / Format::kGroup;
  alignas(32) float scale[kGroups], offset[kGroups];

  K_FN explicit Affines(const typename Format::Block& block) {
#if MLXN_HAS_SCALE_MIN6
    if constexpr (requires { Format::scales(block); }) {
      Oct scales, offsets;
      scale_min6(reinterpret_cast<const uint8_t*>(&block), scales, offsets);
      store_oct(scale, scales);
      store_oct(offset, offsets);
      return;
    } else
#endif
        if constexpr (HasSmallFactors<Format>) {
      const GroupBytes<kGroups> bytes = small_factors<Format>(ScalarReader<Format::kAlign>{}, block);
      MLXN_UNROLL
      for (int i = 0; i < kGroups; i += 8) {
        store_oct(scale + i, signed_bytes(bytes.scales[i / 4], bytes.scales[i / 4 + 1]) * bytes.scale_unit);
        if constexpr (Format::kHasOffset)
          store_oct(offset + i, signed_bytes(bytes.offsets[i / 4], bytes.offsets[i / 4 + 1]) * bytes.offset_unit);
      }
    } else {
      MLXN_UNROLL
      for (int i = 0; i < kGroups; ++i) {
        const Affine affine = Format::affine(block, i);
        scale[i] = affine.scale;
        offset[i] = affine.offset;
      }
    }
  }
};

template <class Format>
K_FN void decode_block(const typename Format::Block& block, float* out) {
  constexpr int kRuns = Format::kGroup / 16;
  const Affines<Format> affines(block);
  MLXN_UNROLL
  for (int group = 0; group < Format::kValues / Format::kGroup; ++group) {
    MLXN_UNROLL
    for (int run = 0; run < kRuns; ++run) {
      const Run codes = to_run(Format::codes(CodeReader{}, block, kRuns * group + run));
      MLXN_UNROLL
      for (int part = 0; part < kRunParts; ++part) {
        Vec value = codes.part[part];
        if constexpr (Format::kBias != 0) value -= float(Format::kBias);
        value *= affines.scale[group];
        if constexpr (Format::kHasOffset) value += affines.offset[group];
        store(out + Format::kGroup * group + 16 * run + kLanes * part, value);
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
