#include "cuda/tensor/families.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace mlx_native::cuda {

namespace {

template <class Family, class Args>
detail::Kernel row(std::string_view prefix, detail::Op op, GgmlType format, Precision accuracy) {
  return {
      .name = fmt::format("cuda.{}.{}.{}", prefix, detail::op_name(op), ggml_type_name(format)),
      .backend = Backend::Cuda,
      .op = op,
      .format = format,
      .accuracy = accuracy,
      .entry = run_tensor_family<Family, Args>,
      .supports = [](const void* args) { return Family::supports(*static_cast<const Args*>(args)); },
      .scratch_bytes = [](const void* args) { return Family::scratch_bytes(*static_cast<const Args*>(args)); },
  };
}

/// The most wanted first.
template <class Format, bool kFull>
void add_rows(std::vector<detail::Kernel>& all, GgmlType format) {
  using detail::Op;
  const Precision accuracy = kFull ? Precision::Full : Precision::Half;
  const auto name = [](std::string_view kind) { return fmt::format("{}{}", kind, kFull ? "_full" : ""); };
  all.push_back(row<WgmmaSplitMatMat<Format, kFull>, MatmulArgs>(name("wgmma_split"), Op::MatMat, format, accuracy));
  all.push_back(row<WgmmaPairMatMat<Format, kFull>, MatmulArgs>(name("wgmma_pair"), Op::MatMat, format, accuracy));
  all.push_back(row<WgmmaMatMat<Format, kFull>, MatmulArgs>(name("wgmma"), Op::MatMat, format, accuracy));
  all.push_back(row<WgmmaMatMat<Format, kFull>, MatmulIdArgs>(name("wgmma"), Op::MatMatId, format, accuracy));
  all.push_back(row<MmaMatMat<Format, kFull>, MatmulArgs>(name("mma"), Op::MatMat, format, accuracy));
  all.push_back(row<MmaMatMat<Format, kFull>, MatmulIdArgs>(name("mma"), Op::MatMatId, format, accuracy));
}

/// Family's kernel where another says that it is wanted.
template <class Family, class Wanted>
detail::Kernel few_tokens_row(std::string_view prefix, GgmlType format, Precision accuracy) {
  detail::Kernel kernel = row<Family, MatmulIdArgs>(prefix, detail::Op::MatVecId, format, accuracy);
  kernel.supports = [](const void* args) { return Wanted::supports(*static_cast<const MatmulIdArgs*>(args)); };
  return kernel;
}

}  // namespace

bool every_device_is_hopper() {
  static const bool answer = [] {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess) return false;
    for (int i = 0; i < devices; ++i) {
      int major = 0, minor = 0;
      if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i) != cudaSuccess ||
          cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i) != cudaSuccess || major != 9 ||
          minor != 0)
        return false;
    }
    return devices > 0;
  }();
  return answer;
}

std::vector<detail::Kernel> tensor_kernels(bool full) {
  std::vector<detail::Kernel> all;
#define MLXN_FORMAT(Name, ggml_name) \
  full ? add_rows<Name, true>(all, GgmlType::Name) : add_rows<Name, false>(all, GgmlType::Name);
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
  return all;
}

std::vector<detail::Kernel> few_tokens_kernels() {
  std::vector<detail::Kernel> all;
  const auto add = [&]<class Format>(Format, GgmlType format) {
    if constexpr (!Format::kPlain) {
      all.push_back(
          few_tokens_row<WgmmaMatMat<Format, false>, WgmmaFewTokens<Format, false>>("wgmma", format, Precision::Half));
      all.push_back(few_tokens_row<WgmmaMatMat<Format, true>, WgmmaFewTokens<Format, true>>("wgmma_full", format,
                                                                                            Precision::Full));
    }
  };
#define MLXN_FORMAT(Name, ggml_name) add(Name{}, GgmlType::Name);
  MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
  return all;
}

}  // namespace mlx_native::cuda
