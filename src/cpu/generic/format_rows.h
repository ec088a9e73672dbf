// The kernels of one weight format.
#pragma once

#include "cpu/generic/dequantize.h"
#if defined(MLXN_BYTES_HEADER)
#include "cpu/generic/dot_bytes.h"
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

template <class Format>
void add_format_rows(const RowSink& sink) {
  using Dot = DotOf<Format>;
#if defined(MLXN_BYTES_HEADER)
  add_byte_rows<Format>(sink);
#endif
  add_format_row<Format, MatmulArgs, mat_vec<Format, Dot>>(sink, Op::MatVec,
                                                           scratch<MatmulArgs, mat_vec_scratch<Format, Dot>>);
  add_format_row<Format, MatmulArgs, mat_mat<Format>>(sink, Op::MatMat);
  add_format_row<Format, MatmulIdArgs, mat_vec_id<Format, Dot>>(sink, Op::MatVecId,
                                                                scratch<MatmulIdArgs, mat_vec_id_scratch<Format, Dot>>);
  add_format_row<Format, MatmulIdArgs, mat_mat_id<Format>>(sink, Op::MatMatId, scratch<MatmulIdArgs, route_scratch>);
  add_format_row<Format, EmbeddingArgs, embedding_gather<Format>>(sink, Op::EmbeddingGather);
  add_format_row<Format, DequantizeArgs, dequantize<Format>>(sink, Op::Dequantize);
}

}  // namespace mlx_native::cpu::MLXN_ISA
