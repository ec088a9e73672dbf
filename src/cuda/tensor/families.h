// Rows of the kernel table for products on the tensor cores. Entries are instantiated one per translation unit.
#pragma once

#include <algorithm>
#include <vector>

#include "cuda/tensor/packed_x.h"
#include "cuda/tensor/prepare.h"
#include "cuda/tensor/weight_map.h"
#include "formats/list.h"
#include "runtime/kernel.h"

namespace mlx_native::cuda {

/// Whether machine code for Hopper runs on whatever CUDA device is chosen. Asked once.
bool every_device_is_hopper();

/// mma.sync: from Ampere on, any shape.
template <class Format, bool kFull>
struct MmaMatMat {
  static std::size_t scratch_bytes(const MatmulArgs& a) {
    Carver carver(nullptr);
    carve_x(carver, a.m, a.k, kFull);
    return carver.used();
  }
  static std::size_t scratch_bytes(const MatmulIdArgs& a) {
    Carver carver(nullptr);
    carve_routing(carver, a, tile_rows(a));
    carve_x(carver, most_rows(a), a.k, kFull);
    return carver.used();
  }
  /// Enough for most experts to need one tile only.
  static std::uint32_t tile_rows(const MatmulIdArgs& a) {
    return std::uint64_t{a.n_tokens} * a.top_k <= std::uint64_t{10} * a.n_experts ? 16 : 64;
  }
  static bool supports(const MatmulArgs&) { return true; }
  static bool supports(const MatmulIdArgs& a) {
    return a.n_experts <= kMostExperts && a.top_k <= kMostExperts &&
           std::uint64_t{a.n_tokens} * a.top_k < std::uint64_t{1} << 31;
  }
  /// Defined in mma.inl.
  static void launch(Launch& on, const MatmulArgs& args);
  static void launch(Launch& on, const MatmulIdArgs& args);
};

/// wgmma: on Hopper, for rows of whole chunks of blocks. Weights that the copy engine cannot map (weight_map.h) go to
/// MmaMatMat.
template <class Format, bool kFull>
struct WgmmaMatMat {
  static constexpr std::uint32_t kChunk = Format::kPlain ? 128 : 256;

  static PackedX carve(Carver& carver, std::uint64_t rows, std::uint32_t k) {
    return carve_x(carver, rows, k, kFull, kSpanOfX<Format, kFull>, kFull && ExactSpans<Format>, kSplit<Format, kFull>);
  }

  static std::size_t scratch_bytes(const MatmulArgs& a) {
    Carver carver(nullptr);
    carve(carver, a.m, a.k);
    carver.take<std::uint32_t>(2);  // PackedBehind::taken
    return carver.used();
  }
  static std::size_t scratch_bytes(const MatmulIdArgs& a) {
    if (!can_map(a.weight, a.row_bytes, a.n, a.expert_stride)) return MmaMatMat<Format, kFull>::scratch_bytes(a);
    Carver carver(nullptr);
    carve_routing(carver, a, tile_rows(a));
    carve(carver, gathers(a) ? a.n_tokens : most_rows(a), a.k);
    return carver.used();
  }
  /// Of x in a tile of a routed product: enough for most experts to need one tile only.
  static std::uint32_t tile_rows(const MatmulIdArgs& a) {
    const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k, experts = a.n_experts;
    if (!kFull && slots <= 40 * experts) return 64;
    if (!kFull && !Format::kPlain) return 160;
    return kFull || slots <= 96 * experts ? 128 : 256;
  }
  /// Whether x is packed once per token, and gathered by the product.
  static bool gathers(const MatmulIdArgs& a) { return tile_rows(a) == 160 || tile_rows(a) == 64; }
  static bool supports(const MatmulArgs& a) { return every_device_is_hopper() && a.k % kChunk == 0; }
  static bool supports(const MatmulIdArgs& a) {
    return every_device_is_hopper() && a.k % kChunk == 0 && MmaMatMat<Format, kFull>::supports(a);
  }
  /// Defined in wgmma_instance.cuh.
  static void launch(Launch& on, const MatmulArgs& args);
  static void launch(Launch& on, const MatmulIdArgs& args);
};

/// The same for few rows of x, where a matrix has too few rows for all multiprocessors: split along k, in parts whose
/// number depends on n and k alone.
template <class Format, bool kFull>
struct WgmmaSplitMatMat {
  static constexpr std::uint32_t kMostRows = 128;

  static std::uint32_t parts(const MatmulArgs& a) {
    const std::uint32_t row_tiles = (a.n - 1) / 128 + 1, chunks = a.k / WgmmaMatMat<Format, kFull>::kChunk;
    return std::clamp(132 / row_tiles, 1u, std::clamp(chunks / 2, 1u, 8u));
  }
  static std::size_t scratch_bytes(const MatmulArgs& a) {
    Carver carver(nullptr);
    WgmmaMatMat<Format, kFull>::carve(carver, a.m, a.k);
    carver.take<float>(std::uint64_t{parts(a)} * a.m * a.n);
    return carver.used();
  }
  static bool supports(const MatmulArgs& a) {
    return WgmmaMatMat<Format, kFull>::supports(a) && a.m <= kMostRows && parts(a) > 1;
  }
  /// Defined in wgmma_instance.cuh.
  static void launch(Launch& on, const MatmulArgs& args);
};

/// WgmmaMatMat in the place of mat-vec kernels, which read an expert's weights for each of its slots: for so many slots
/// an expert that it takes less time.
template <class Format, bool kFull>
struct WgmmaFewTokens : WgmmaMatMat<Format, kFull> {
  static bool supports(const MatmulIdArgs& a) {
    constexpr std::uint64_t kSixteenths = !kFull                 ? (Format::kValues == 32 ? 14 : 20)
                                          : Format::kBits == 8   ? 20
                                          : Format::kGroup == 32 ? 30
                                                                 : 0;  // 0: never
    constexpr double kWorthRouting = 1e8;
    const std::uint64_t slots = std::uint64_t{a.n_tokens} * a.top_k;
    return kSixteenths != 0 && 16 * slots > kSixteenths * a.n_experts &&
           static_cast<double>(slots) * a.n * a.k >= kWorthRouting && WgmmaMatMat<Format, kFull>::supports(a) &&
           can_map(a.weight, a.row_bytes, a.n, a.expert_stride);
  }
};

/// The same for so few tiles that two multiprocessors can share one: each decodes and multiplies half of k.
template <class Format, bool kFull>
struct WgmmaPairMatMat {
  /// Rows of x in a tile: the fewest that leave two of 132 multiprocessors for each; 0: none.
  static std::uint32_t tile(const MatmulArgs& a) {
    const std::uint64_t row_tiles = (a.n - 1) / 128 + 1;
    for (const std::uint32_t rows : {128u, 256u})
      if (row_tiles * ((a.m - 1) / rows + 1) <= 66 && !(kFull && rows > 128)) return rows;
    return 0;
  }
  static std::size_t scratch_bytes(const MatmulArgs& a) { return WgmmaMatMat<Format, kFull>::scratch_bytes(a); }
  static bool supports(const MatmulArgs& a) {
    return WgmmaMatMat<Format, kFull>::supports(a) && a.k >= 2 * WgmmaMatMat<Format, kFull>::kChunk && tile(a) > 0;
  }
  /// Defined in wgmma_instance.cuh.
  static void launch(Launch& on, const MatmulArgs& args);
};

/// A KernelEntry.
template <class Family, class Args>
void run_tensor_family(const void* args, void* launch);

/// All rows of a precision, the most wanted first.
std::vector<detail::Kernel> tensor_kernels(bool full);
/// Rows of mat_vec_id, which stand before those of mat-vec kernels.
std::vector<detail::Kernel> few_tokens_kernels();

}  // namespace mlx_native::cuda
