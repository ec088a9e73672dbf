// The kernels of one weight format.
#pragma once

#include "cpu/generic/dequantize.h"
#if defined(MLXN_BYTES_HEADER)
#include "cpu/generic/dot_bytes.h"
#endif
#if MLXN_WORD_DOT
#include "cpu/generic/dot_words.h"
#endif
#include "cpu/generic/mat_mat.h"
#include "cpu/generic/mat_vec.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

template <class Format>
constexpr const char* ggml_name() {
#define MLXN_FORMAT(Name, text) \
  if (kTypeOf<Format> == GgmlType::Name) return #text;
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
}

template <class Format, class Args, void (*Run)(const Args&, Team&)>
void add_format_row(const RowSink& sink, Op op, std::size_t (*scratch_bytes)(const void*) = nullptr) {
  sink.add(sink.to, {op, ggml_name<Format>(), kTypeOf<Format>, entry<Args, Run>, scratch_bytes});
}

#if defined(MLXN_BYTES_HEADER)
/// One row of x in integers.
template <class Format>
void add_byte_rows(const RowSink& sink) {
  if constexpr (HasByteDot<Format>) {
    using Dot = ByteDot<Format>;
    sink.add(sink.to, {Op::MatVec, ggml_name<Format>(), kTypeOf<Format>, entry<MatmulArgs, mat_vec<Format, Dot>>,
                       scratch<MatmulArgs, mat_vec_scratch<Format, Dot>>, "_bytes",
                       [](const void* args) { return static_cast<const MatmulArgs*>(args)->m == 1; }});
  }
}
#endif

#if MLXN_WORD_DOT
/// Few rows of x in integers.
template <class Format, class Dot>
void add_word_rows(const RowSink& sink, const char* variant) {
  const auto add = [&](Op op, detail::KernelEntry run, std::size_t (*scratch_bytes)(const void*),
                       bool (*supports)(const void*)) {
    sink.add(sink.to,
             {op, ggml_name<Format>(), kTypeOf<Format>, run, scratch_bytes, variant, supports, Dot::kAccuracy});
  };
  add(Op::MatVec, entry<MatmulArgs, mat_vec<Format, Dot>>, scratch<MatmulArgs, mat_vec_scratch<Format, Dot>>,
      [](const void* args) { return static_cast<const MatmulArgs*>(args)->m <= Dot::kRowsAtOnce; });
  add(Op::MatVecId, entry<MatmulIdArgs, mat_vec_id<Format, Dot>>,
      scratch<MatmulIdArgs, mat_vec_id_scratch<Format, Dot>>, [](const void* args) {
        const auto& a = *static_cast<const MatmulIdArgs*>(args);
        return uint64_t{a.n_tokens} * a.top_k <= uint64_t{Dot::kRowsAtOnce} * a.n_experts;
      });
}
#endif

/// The rows of mat_mat.h for one way to multiply. Few rows of x are still mat-vec by name.
template <class Format, class Way>
void add_mat_mat_rows(const RowSink& sink, const char* variant) {
  const auto add = [&](Op op, detail::KernelEntry run, std::size_t (*scratch_bytes)(const void*),
                       bool (*supports)(const void*)) {
    sink.add(sink.to,
             {op, ggml_name<Format>(), kTypeOf<Format>, run, scratch_bytes, variant, supports, Way::kAccuracy});
  };
  const auto enough = [](const void* args) { return static_cast<const MatmulArgs*>(args)->m >= Way::kLeastRows; };
  const auto enough_of_each = [](const void* args) {
    const auto& a = *static_cast<const MatmulIdArgs*>(args);
    return uint64_t{a.n_tokens} * a.top_k >= uint64_t{Way::kLeastRows} * a.n_experts;
  };
  constexpr auto kRun = entry<MatmulArgs, mat_mat<Format, Way>>;
  constexpr auto kRunId = entry<MatmulIdArgs, mat_mat_id<Format, Way>>;
  constexpr auto kScratch = scratch<MatmulArgs, mat_mat_scratch<Format, Way>>;
  constexpr auto kScratchId = scratch<MatmulIdArgs, mat_mat_id_scratch<Format, Way>>;
  add(Op::MatVec, kRun, kScratch, enough);
  add(Op::MatMat, kRun, kScratch, nullptr);
  add(Op::MatVecId, kRunId, kScratchId, enough_of_each);
  add(Op::MatMatId, kRunId, kScratchId, nullptr);
}

template <class Format>
void add_format_rows(const RowSink& sink) {
  using Dot = DotOf<Format>;
  if constexpr (!Format::kPlain) {
#if MLXN_WORD_DOT
    add_word_rows<Format, WordDot<Format, 1>>(sink, "_row_8bit");
    add_word_rows<Format, WordDot<Format, 3>>(sink, "_row_24bit");
#endif
#if MLXN_HAS_BYTES
    add_mat_mat_rows<Format, BytePanel<Format, 1>>(sink, "_8bit");
#endif
#if MLXN_WIDE_DOT
    add_mat_mat_rows<Format, BytePanel<Format, 2>>(sink, "_16bit");
    add_mat_mat_rows<Format, BytePanel<Format, 3>>(sink, "_24bit");
#endif
  }
#if defined(MLXN_BYTES_HEADER)
  add_byte_rows<Format>(sink);
#endif
  add_mat_mat_rows<Format, FloatPanel<Format>>(sink, "_float");
  add_format_row<Format, MatmulArgs, mat_vec<Format, Dot>>(sink, Op::MatVec,
                                                           scratch<MatmulArgs, mat_vec_scratch<Format, Dot>>);
  add_format_row<Format, MatmulIdArgs, mat_vec_id<Format, Dot>>(sink, Op::MatVecId,
                                                                scratch<MatmulIdArgs, mat_vec_id_scratch<Format, Dot>>);
  add_format_row<Format, EmbeddingArgs, embedding_gather<Format>>(sink, Op::EmbeddingGather);
  add_format_row<Format, DequantizeArgs, dequantize<Format>>(sink, Op::Dequantize);
}

}  // namespace mlx_native::cpu::MLXN_ISA
