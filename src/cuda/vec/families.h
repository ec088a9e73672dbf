// Products of few rows by the kernels of cuda/vec: up to 16 rows of x in one pass over W.
#pragma once

#include <type_traits>
#include <vector>

#include "args/fused.h"
#include "args/matmul.h"
#include "cuda/launch.h"
#include "cuda/tensor/families.h"
#include "runtime/kernel.h"

// The formats whose bits units.cuh knows. Others are decoded by codes(), on Hopper alone: elsewhere, and where those
// kernels do not support a problem, the common kernels have them. CMake reads these lines too.
// clang-format off
#define MLXN_VEC_FORMATS(MLXN_VEC_FORMAT) \
  MLXN_VEC_FORMAT(F16)                    \
  MLXN_VEC_FORMAT(Q4_0)                   \
  MLXN_VEC_FORMAT(Q5_0)                   \
  MLXN_VEC_FORMAT(Q8_0)                   \
  MLXN_VEC_FORMAT(Q4_K)                   \
  MLXN_VEC_FORMAT(Q5_K)                   \
  MLXN_VEC_FORMAT(Q6_K)                   \
  MLXN_VEC_FORMAT(BF16)
// clang-format on

namespace mlx_native::cuda {

template <class Format>
inline constexpr bool kHasOwnUnit = false;
#define MLXN_VEC_FORMAT(Name) \
  template <>                 \
  inline constexpr bool kHasOwnUnit<Name> = true;
MLXN_VEC_FORMATS(MLXN_VEC_FORMAT)
#undef MLXN_VEC_FORMAT

template <class Format>
struct VecProduct {
  using Args = MatmulArgs;
  static bool supports(const Args& a) { return a.m <= 16 && a.k % 256 == 0; }
  static void launch(Launch& on, const Args& a);
};

/// VecProduct in the place of the tensor cores' kernels of `Full`, which on Hopper take less time but where they need
/// three products, and with plain weights.
template <class Format>
struct VecMatMat : VecProduct<Format> {
  static bool supports(const MatmulArgs& a) {
    bool three = true;
    if constexpr (!Format::kPlain) three = Format::kGroup == 16;
    return (three || !every_device_is_hopper()) && VecProduct<Format>::supports(a);
  }
};

/// Whether every row begins where the copy engine can begin.
inline bool can_copy_rows(const void* weight, std::uint64_t row_bytes, std::uint64_t expert_stride) {
  return (reinterpret_cast<std::uintptr_t>(weight) | row_bytes | expert_stride) % 16 == 0;
}
/// Whether x is read 16 bytes at a time.
inline bool can_load(const float* x) { return reinterpret_cast<std::uintptr_t>(x) % 16 == 0; }

/// One to four rows of x with quantized weights, on Hopper; as many as shared memory holds, or one or two long ones,
/// which are VecBox's.
template <class Format>
struct VecStream {
  using Args = MatmulArgs;
  static bool supports(const Args& a);
  static void launch(Launch& on, const Args& a);
};

/// The same with what lies around the product.
template <class Format>
struct VecStreamFused {
  using Args = FusedMatmulArgs;
  /// Whether VecStream's kernel does the product alone, too.
  static bool supports(const Args& a);
  static void launch(Launch& on, const Args& a);
};

/// Up to kRows rows of x, more than half of them, with quantized weights, on Hopper, by clusters whose groups share x.
/// One and two only where they are long, as part of VecStream, which has more to offer (VecStreamFused). kHalf: x is
/// rounded to halfs.
template <class Format, std::uint32_t kRows, bool kHalf = false>
struct VecBox {
  using Args = MatmulArgs;
  static constexpr std::uint32_t kFewest = kRows == 2 ? 1 : kRows / 2 + 1;
  static bool supports(const Args& a);
  static void launch(Launch& on, const Args& a);
};

template <class Format>
bool VecStream<Format>::supports(const Args& a) {
  if constexpr (!Format::kPlain)
    if (VecBox<Format, 2>::supports(a)) return true;
  return a.m <= 4 && a.k % 256 == 0 && std::uint64_t{a.m} * a.k <= 1 << 15 && can_load(a.input) &&
         every_device_is_hopper();
}

/// Few tokens with quantized weights of experts, on Hopper. Rows begin where the copy engine can begin, or are so short
/// that 16 of them, of which that is always true, are copied together.
template <class Format>
struct VecRoutedStream {
  using Args = MatmulIdArgs;
  static constexpr std::uint64_t kMostSlots = 256;
  static constexpr std::uint32_t kShort = 2048;
  static bool supports(const Args& a) {
    return a.k % 256 == 0 && std::uint64_t{a.n_tokens} * a.top_k <= kMostSlots && can_load(a.input) &&
           can_copy_rows(a.weight, a.k <= kShort ? 0 : a.row_bytes, a.expert_stride) && every_device_is_hopper();
  }
  static void launch(Launch& on, const Args& a);
};

/// Two products and their activation.
template <class Format>
struct VecRoutedStreamFused {
  using Args = FusedMatmulIdArgs;
  static bool supports(const Args& a);
  static void launch(Launch& on, const Args& a);
};

template <class Format>
struct VecRouted {
  using Args = MatmulIdArgs;
  static bool supports(const Args& a) { return a.k % 256 == 0; }
  static void launch(Launch& on, const Args& a);
};

/// A family's KernelEntry.
template <class Family>
void entry_of(const void* args, void* launch) {
  Family::launch(*static_cast<Launch*>(launch), *static_cast<const typename Family::Args*>(args));
}

/// Rows of the backend's table, better than those of the common kernels where they support the problem.
std::vector<detail::Kernel> vec_kernels();
/// Those for 9 to 16 rows, better than what the tensor cores' kernels of a precision do.
std::vector<detail::Kernel> vec_mat_mat_kernels(bool full);

}  // namespace mlx_native::cuda
