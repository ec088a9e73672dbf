#pragma once

namespace [[gnu::visibility("default")]] mlx_native {

/// Bound on E, the relative L2 error of a product against a float64 product of the exactly decoded weights and the f32
/// activations, of rows whose largest activation is of 2^-100 to 2^100: smaller ones may count as 0, and sums of larger
/// ones may overflow.
enum class Precision {
  Auto,  ///< Full where Half would hardly be faster (one row, and on GPUs a few); else Half, which on the CPU means 16
         ///< bits of x: E 3e-5, or 1e-4 where one value in 64 is a hundred times the others
  Full,  ///< E <= 3e-5: as good as f32
  Half,  ///< E <= 1e-3: operands may be rounded to f16, accumulation in f32
  Int8,  ///< E <= 1.5e-2 where weights have no outliers: activations rounded to 8 bits per block of 32; with weights of
         ///< F16 and BF16 both operands to bf16
};

/// The largest E that a precision allows; Auto allows what Half does.
constexpr double error_bound(Precision precision) {
  constexpr double kBounds[] = {1e-3, 3e-5, 1e-3, 1.5e-2};
  return kBounds[static_cast<int>(precision)];
}

}  // namespace mlx_native
