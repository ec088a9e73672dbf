#include "cuda/vec/families.h"

#include <fmt/format.h>

#include "formats/list.h"

namespace mlx_native::cuda {

using namespace detail;

namespace {

template <class Family>
void add(std::vector<Kernel>& all, std::string_view kind, Op op, GgmlType format, KernelEntry alone = nullptr,
         Precision accuracy = Precision::Full) {
  using Args = typename Family::Args;
  all.push_back({.name = fmt::format("cuda.{}.{}.{}", kind, op_name(op), ggml_type_name(format)),
                 .backend = Backend::Cuda,
                 .op = op,
                 .format = format,
                 .accuracy = accuracy,
                 .entry = entry_of<Family>,
                 .supports = [](const void* args) { return Family::supports(*static_cast<const Args*>(args)); },
                 .alone = alone});
}

template <class Format>
void add_format(std::vector<Kernel>& all, GgmlType format) {
  if constexpr (!Format::kPlain) {
    add<VecBox<Format, 8>>(all, "box8", Op::MatVec, format);
    add<VecBox<Format, 4>>(all, "box4", Op::MatVec, format);
    add<VecStream<Format>>(all, "stream", Op::MatVec, format);
    add<VecRoutedStream<Format>>(all, "stream", Op::MatVecId, format);
    add<VecStreamFused<Format>>(all, "stream", Op::FusedMatVec, format, entry_of<VecStream<Format>>);
    add<VecRoutedStreamFused<Format>>(all, "stream", Op::FusedMatVecId, format, entry_of<VecRoutedStream<Format>>);
  }
  if constexpr (kHasOwnUnit<Format>) {
    add<VecProduct<Format>>(all, "vec", Op::MatVec, format);
    add<VecRouted<Format>>(all, "vec", Op::MatVecId, format);
  }
}

}  // namespace

std::vector<Kernel> vec_kernels() {
  std::vector<Kernel> all;
#define MLXN_FORMAT(Name, ggml_name) add_format<Name>(all, GgmlType::Name);
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
  return all;
}

std::vector<Kernel> vec_mat_mat_kernels(bool full) {
  std::vector<Kernel> all;
  const auto add_row = [&]<class Format>(Format, GgmlType format) {
    if (full) {
      if constexpr (kHasOwnUnit<Format>) add<VecMatMat<Format>>(all, "vec", Op::MatMat, format);
    } else if constexpr (!Format::kPlain) {
      add<VecBox<Format, 16, true>>(all, "box16_half", Op::MatMat, format, nullptr, Precision::Half);
    }
  };
#define MLXN_FORMAT(Name, ggml_name) add_row(Name{}, GgmlType::Name);
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
  return all;
}

}  // namespace mlx_native::cuda
