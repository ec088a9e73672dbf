// The kernels of one weight format.
#pragma once

#include <type_traits>

#include "cpu/generic/dequantize.h"
#if defined(MLXN_BYTES_HEADER)
#include "cpu/generic/dot_bytes.h"
#endif
#if MLXN_WORD_DOT
#include "cpu/generic/dot_words.h"
#endif
#if MLXN_HAS_BFLOAT_DOT
#include "cpu/generic/bfloat_panel.h"
#endif
#include "cpu/generic/mat_mat.h"
#include "cpu/generic/mat_vec.h"
#include "cpu/generic/plain_tile.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format>
constexpr const char* ggml_name() {
#define MLXN_FORMAT(Name, text) \
  if (kTypeOf<Format> == GgmlType::Name) return #text;
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
}

/// Adds a kernel of Format, with every member of its row that comes after the type.
template <class Format, class... Rest>
void add_format_row(const RowSink& sink, Op op, detail::KernelEntry run, Rest... rest) {
  sink.add(sink.to, {op, ggml_name<Format>(), kTypeOf<Format>, run, rest...});
}

#if defined(MLXN_BYTES_HEADER)
/// One row of x in integers.
template <class Format>
void add_byte_rows(const RowSink& sink) {
  if constexpr (HasByteDot<Format>) {
    using Dot = ByteDot<Format>;
    add_format_row<Format>(sink, Op::MatVec, entry<MatmulArgs, mat_vec<Format, Dot>>,
                           scratch<MatmulArgs, few_scratch<Dot>>, "_bytes",
                           [](const void* args) { return static_cast<const MatmulArgs*>(args)->m == 1; });
  }
}
#endif

#if MLXN_WORD_DOT
/// What word_lanes.h knows: factors of groups that are decoded together, and blocks of one group.
template <class Format>
concept HasWordLanes = HasSmallFactors<Format> ||
    (Format::kGroup == Format::kValues &&
     requires(const typename Format::Block& block) { Format::scale(ScalarReader<2>{}, block); });

/// Few rows of x in integers.
template <class Format, class Dot>
void add_word_rows(const RowSink& sink, const char* variant) {
  static constexpr uint64_t kOfEach = Dot::kMostRows < Dot::kRowsAtOnce ? Dot::kMostRows : Dot::kRowsAtOnce;
  add_format_row<Format>(
      sink, Op::MatVec, entry<MatmulArgs, mat_vec<Format, Dot>>, scratch<MatmulArgs, few_scratch<Dot>>, variant,
      [](const void* args) {
        const auto& a = *static_cast<const MatmulArgs*>(args);
        return a.m >= Dot::kLeastRows && a.m <= most_rows<Dot>(a.m, a.k);
      },
      Dot::kAccuracy);
  add_format_row<Format>(
      sink, Op::MatVecId, entry<MatmulIdArgs, mat_vec_id<Format, Dot>>,
      scratch<MatmulIdArgs, mat_vec_id_scratch<Format, Dot>>, variant,
      [](const void* args) {
        const auto& a = *static_cast<const MatmulIdArgs*>(args);
        return a.n_tokens >= Dot::kLeastRows && uint64_t{a.n_tokens} * a.top_k <= kOfEach * a.n_experts;
      },
      Dot::kAccuracy);
}
#endif

#if MLXN_HAS_WORDS
/// Two planes of bytes are decoded sooner than words and multiplied later; with 8 lanes they are never faster.
template <class Format>
constexpr bool kHasPlanesOf16Bits = kLanes > 8 || !kHasIntegerUnits<Format>;
#else
template <class Format>
constexpr bool kHasPlanesOf16Bits = true;
#endif

/// The rows of mat_mat.h for one way to multiply. Few rows of x are still mat-vec by name.
template <class Format, class Way>
void add_mat_mat_rows(const RowSink& sink, const char* variant) {
  using Supports = bool (*)(const void*);
  const auto add = [&](Op op, Supports supports) {
    add_format_row<Format>(sink, op, entry<MatmulArgs, mat_mat<Format, Way>>,
                           scratch<MatmulArgs, mat_mat_scratch<Format, Way>>, variant, supports, Way::kAccuracy);
  };
#if MLXN_HAS_TILES
  add(Op::MatMat, [](const void* args) { return static_cast<const MatmulArgs*>(args)->m >= kLeastRowsOfTiles; });
#else
  const Supports enough = [](const void* args) { return static_cast<const MatmulArgs*>(args)->m >= Way::kLeastRows; };
  const Supports enough_of_each = [](const void* args) {
    const auto& a = *static_cast<const MatmulIdArgs*>(args);
    return uint64_t{a.n_tokens} * a.top_k >= uint64_t{Way::kLeastRows} * a.n_experts;
  };
  const auto add_id = [&](Op op, Supports supports) {
    add_format_row<Format>(sink, op, entry<MatmulIdArgs, mat_mat_id<Format, Way>>,
                           scratch<MatmulIdArgs, routed_scratch<Way>>, variant, supports, Way::kAccuracy);
  };
  constexpr bool kForMany = requires { Way::kForMany; };  // another way has few rows in mat-mat too
  add(Op::MatVec, enough);
  add(Op::MatMat, kForMany ? enough : nullptr);
  add_id(Op::MatVecId, enough_of_each);
  add_id(Op::MatMatId, kForMany ? enough_of_each : nullptr);
#endif
}

#if MLXN_HAS_TILES
/// Every precision, for the first row that is good enough is chosen: by tiles where these are faster than vectors, and
/// in Int8 where they round x in blocks of 32 too (an outlier spoils the 8 bits of its whole block). Few rows are
/// avx512's but for what such processors want of memory.
template <class Format>
void add_tile_rows(const RowSink& sink) {
  if constexpr (HasWordLanes<Format>) {
    add_word_rows<Format, WordDot<Format, 1>>(sink, "_row_8bit");
    add_word_rows<Format, WordDot<Format, 3>>(sink, "_row_24bit");
  }
  if constexpr (kHasIntegerUnits<Format>) {
    using Narrow = std::conditional_t<AmxPanel<Format, 1>::kFolds, BytePanel<Format, 1>, AmxPanel<Format, 1>>;
    add_mat_mat_rows<Format, Narrow>(sink, "_8bit");
    add_mat_mat_rows<Format, AmxPanel<Format, 2>>(sink, "_16bit");
    add_mat_mat_rows<Format, AmxPanel<Format, 3>>(sink, "_24bit");
  }
}
#endif

/// Some rows of x with plain weights.
template <class Format, class Numbers>
void add_plain_rows(const RowSink& sink, const char* variant) {
  using Tile = PlainTile<Format, Numbers>;
  for (const Op op : {Op::MatVec, Op::MatMat})
    add_format_row<Format>(
        sink, op, entry<MatmulArgs, plain_product<Format, Numbers>>, scratch<MatmulArgs, few_scratch<Numbers>>, variant,
        [](const void* args) {
          const auto& a = *static_cast<const MatmulArgs*>(args);
          return Tile::supports(a.m, a.k);
        },
        Numbers::kAccuracy);
}

template <class Format>
void add_format_rows(const RowSink& sink) {
#if MLXN_HAS_TILES
  if constexpr (!Format::kPlain) add_tile_rows<Format>(sink);
#elif MLXN_HAS_BFLOAT_DOT
  if constexpr (Format::kPlain && sizeof(typename Format::Block) == 2) {
    add_plain_rows<Format, Bfloats>(sink, "_tile_bf16");
    add_mat_mat_rows<Format, BfloatPanel<Format>>(sink, "_bf16");
  }
#else
  if constexpr (!Format::kPlain) {
#if MLXN_WORD_DOT
    if constexpr (HasWordLanes<Format>) add_word_rows<Format, WordDot<Format, 1>>(sink, "_row_8bit");
#endif
#if MLXN_HAS_BYTES
    add_mat_mat_rows<Format, BytePanel<Format, 1>>(sink, "_8bit");
#endif
#if MLXN_HAS_WORDS
    if constexpr (kHasIntegerUnits<Format>) add_mat_mat_rows<Format, WordPanel<Format>>(sink, "_16bit_words");
#endif
#if MLXN_WORD_DOT
    if constexpr (HasWordLanes<Format>) {
      using Two = WordDot<Format, 2>;  // of 14 bits where pairs of 8-bit codes leave no more
      if constexpr (Two::kMost >> 14 > 0) add_word_rows<Format, Two>(sink, "_row_16bit");
      add_word_rows<Format, WordDot<Format, 3>>(sink, "_row_24bit");
    }
#endif
#if MLXN_WIDE_DOT
    if constexpr (kHasPlanesOf16Bits<Format>) add_mat_mat_rows<Format, BytePanel<Format, 2>>(sink, "_16bit");
    add_mat_mat_rows<Format, BytePanel<Format, 3>>(sink, "_24bit");
#endif
  }
#if defined(MLXN_BYTES_HEADER)
  add_byte_rows<Format>(sink);
#endif
#if !MLXN_PRODUCTS_ALONE
  using Dot = DotOf<Format>;
  if constexpr (Format::kPlain) add_plain_rows<Format, Floats>(sink, "_tile");
  add_mat_mat_rows<Format, FloatPanel<Format>>(sink, "_float");
  add_format_row<Format>(sink, Op::MatVec, entry<MatmulArgs, mat_vec<Format, Dot>>,
                         scratch<MatmulArgs, few_scratch<Dot>>);
  add_format_row<Format>(sink, Op::MatVecId, entry<MatmulIdArgs, mat_vec_id<Format, Dot>>,
                         scratch<MatmulIdArgs, mat_vec_id_scratch<Format, Dot>>);
  add_format_row<Format>(sink, Op::EmbeddingGather, entry<EmbeddingArgs, embedding_gather<Format>>);
  add_format_row<Format>(sink, Op::Dequantize, entry<DequantizeArgs, dequantize<Format>>);
#endif
#endif
}

}  // namespace mlx_native::cpu::MLXN_ISA
