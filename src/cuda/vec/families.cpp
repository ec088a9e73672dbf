#include "cuda/vec/families.h"

#include <fmt/format.h>

#include "formats/list.h"

namespace mlx_native::cuda {

using namespace detail;

std::vector<Kernel> vec_kernels() {
  std::vector<Kernel> all;
  const auto add = [&]<class Family>(Op op, GgmlType format) {
    using Args = typename Family::Args;
    all.push_back(
        {.name = fmt::format("cuda.vec.{}.{}", op_name(op), ggml_type_name(format)),
         .backend = Backend::Cuda,
         .op = op,
         .format = format,
         .entry = [](const void* args,
                     void* launch) { Family::launch(*static_cast<Launch*>(launch), *static_cast<const Args*>(args)); },
         .supports =
             [](const void* args) {
               const Args& a = *static_cast<const Args*>(args);
               if constexpr (requires { a.m; })
                 if (a.m > 16) return false;
               return a.k % 256 == 0;
             }});
  };
#define MLXN_VEC_FORMAT(Name)                                            \
  add.template operator()<VecProduct<Name>>(Op::MatVec, GgmlType::Name); \
  add.template operator()<VecRouted<Name>>(Op::MatVecId, GgmlType::Name);
  MLXN_VEC_FORMATS(MLXN_VEC_FORMAT)
#undef MLXN_VEC_FORMAT
  return all;
}

}  // namespace mlx_native::cuda
