#include "cuda/vec/families.h"

#include <fmt/format.h>

#include "formats/list.h"

namespace mlx_native::cuda {

using namespace detail;

std::vector<Kernel> vec_kernels() {
  std::vector<Kernel> all;
  const auto add = [&]<class Family>(std::string_view kind, Op op, GgmlType format) {
    using Args = typename Family::Args;
    all.push_back(
        {.name = fmt::format("cuda.{}.{}.{}", kind, op_name(op), ggml_type_name(format)),
         .backend = Backend::Cuda,
         .op = op,
         .format = format,
         .entry = [](const void* args,
                     void* launch) { Family::launch(*static_cast<Launch*>(launch), *static_cast<const Args*>(args)); },
         .supports = [](const void* args) { return Family::supports(*static_cast<const Args*>(args)); }});
  };
  const auto add_format = [&]<class Format>(GgmlType format) {
    if constexpr (!Format::kPlain) add.template operator()<VecStream<Format>>("stream", Op::MatVec, format);
    add.template operator()<VecProduct<Format>>("vec", Op::MatVec, format);
    add.template operator()<VecRouted<Format>>("vec", Op::MatVecId, format);
  };
#define MLXN_VEC_FORMAT(Name) add_format.template operator()<Name>(GgmlType::Name);
  MLXN_VEC_FORMATS(MLXN_VEC_FORMAT)
#undef MLXN_VEC_FORMAT
  return all;
}

}  // namespace mlx_native::cuda
