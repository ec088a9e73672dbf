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
    all.push_back({.name = format ? fmt::format("{}.{}.{}", prefix, detail::op_name(op), ggml_type_name(*format))
                                  : fmt::format("{}.{}", prefix, detail::op_name(op)),
                   .backend = backend,
                   .op = op,
                   .format = format,
                   .entry = Entries::template entry<Family>()});
  };
  add.template operator()<RmsNorm>(detail::Op::RmsNorm, std::nullopt);
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
