// The kernel table of a GPU backend: every family over every format.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "gpu/launch/families.h"
#include "runtime/kernel.h"

namespace mlx_native::gpu {

/// Makes a backend's rows, named `prefix`.op.format. Entries::template entry<Family>() gives the KernelEntry.
template <class Entries>
std::vector<detail::Kernel> rows(Backend backend, std::string_view prefix) {
  std::vector<detail::Kernel> all;
  const auto add = [&]<class Family>(detail::Op op, std::optional<GgmlType> format) {
    std::size_t (*scratch_bytes)(const void*) = nullptr;
    if constexpr (requires(const typename Family::Args& args) { Family::scratch_bytes(args); })
      scratch_bytes = [](const void* args) {
        return Family::scratch_bytes(*static_cast<const typename Family::Args*>(args));
      };
    bool (*supports)(const void*) = nullptr;
    if constexpr (requires(const typename Family::Args& args) { Family::supports(args); })
      supports = [](const void* args) { return Family::supports(*static_cast<const typename Family::Args*>(args)); };
    detail::KernelEntry alone = nullptr;
    if constexpr (requires { typename Family::Alone; }) alone = Entries::template entry<typename Family::Alone>();
    all.push_back({.name = format ? fmt::format("{}.{}.{}", prefix, detail::op_name(op), ggml_type_name(*format))
                                  : fmt::format("{}.{}", prefix, detail::op_name(op)),
                   .backend = backend,
                   .op = op,
                   .format = format,
                   .entry = Entries::template entry<Family>(),
                   .supports = supports,
                   .scratch_bytes = scratch_bytes,
                   .alone = alone});
  };
  add.template operator()<RmsNorm>(detail::Op::RmsNorm, std::nullopt);
  add.template operator()<Rope>(detail::Op::Rope, std::nullopt);
  add.template operator()<KvCacheWrite>(detail::Op::KvCacheWrite, std::nullopt);
  add.template operator()<Attention>(detail::Op::Attention, std::nullopt);
  add.template operator()<Add>(detail::Op::Add, std::nullopt);
  add.template operator()<Mul>(detail::Op::Mul, std::nullopt);
  add.template operator()<SiluMul>(detail::Op::SiluMul, std::nullopt);
  add.template operator()<Gelu>(detail::Op::Gelu, std::nullopt);
  add.template operator()<MoeSoftmaxTopk>(detail::Op::MoeSoftmaxTopk, std::nullopt);
  add.template operator()<MoeWeightedReduce>(detail::Op::MoeWeightedReduce, std::nullopt);
  add.template operator()<HeadsToCache>(detail::Op::HeadsToCache, std::nullopt);
  add.template operator()<HeadsAttention>(detail::Op::HeadsAttention, std::nullopt);
  add.template operator()<AddNorm>(detail::Op::AddNorm, std::nullopt);
  add.template operator()<MoeReduceAdd>(detail::Op::MoeReduceAdd, std::nullopt);
  add.template operator()<Argmax>(detail::Op::Argmax, std::nullopt);
  add.template operator()<Sample>(detail::Op::Sample, std::nullopt);
  add.template operator()<Checksum>(detail::Op::Checksum, std::nullopt);
#define MLXN_FORMAT(Name, ggml_name)                                                 \
  add.template operator()<MatVec<Name>>(detail::Op::MatVec, GgmlType::Name);         \
  add.template operator()<MatVecId<Name>>(detail::Op::MatVecId, GgmlType::Name);     \
  add.template operator()<Dequantize<Name>>(detail::Op::Dequantize, GgmlType::Name); \
  add.template operator()<EmbeddingGather<Name>>(detail::Op::EmbeddingGather, GgmlType::Name);
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
  return all;
}

}  // namespace mlx_native::gpu
