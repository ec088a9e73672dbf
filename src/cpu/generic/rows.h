// How the kernels of an ISA enter its table.
#pragma once

#include "cpu/isa.h"
#include "cpu/simd/simd.h"
#include "cpu/team.h"
#include "formats/list.h"

namespace mlx_native::cpu::MLXN_ISA {

using detail::Op;

/// A KernelEntry out of a typed kernel: every worker of the team calls Run.
template <class Args, void (*Run)(const Args&, Team&)>
void entry(const void* args, void* team) {
  Run(*static_cast<const Args*>(args), *static_cast<Team*>(team));
}
template <class Args, std::size_t (*Bytes)(const Args&)>
std::size_t scratch(const void* args) {
  return Bytes(*static_cast<const Args*>(args));
}

/// Adds a kernel without format.
template <class Args, void (*Run)(const Args&, Team&)>
void add(const RowSink& sink, Op op, std::size_t (*scratch_bytes)(const void*) = nullptr) {
  sink.add(sink.to, {op, nullptr, GgmlType{}, entry<Args, Run>, scratch_bytes});
}

/// The same, of a kernel that is brief where it has few `Values`: what one worker is through with in a microsecond.
template <class Args, void (*Run)(const Args&, Team&), uint64_t (*Values)(const Args&)>
void add_brief(const RowSink& sink, Op op) {
  constexpr uint64_t kFew = 8192;
  const auto brief = [](const void* args) { return Values(*static_cast<const Args*>(args)) <= kFew; };
  sink.add(sink.to, {op, nullptr, GgmlType{}, entry<Args, Run>, nullptr, "", nullptr, Precision::Full, brief});
}

// One function per file of kernels.
void add_attention_rows(const RowSink& sink);
void add_checksum_rows(const RowSink& sink);
void add_elementwise_rows(const RowSink& sink);
void add_moe_rows(const RowSink& sink);
void add_position_rows(const RowSink& sink);
void add_norm_rows(const RowSink& sink);
void add_sampling_rows(const RowSink& sink);
#define MLXN_FORMAT(Name, ggml_name) void add_##Name##_rows(const RowSink& sink);
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

}  // namespace mlx_native::cpu::MLXN_ISA
