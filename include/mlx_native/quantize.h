#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mlx_native/error.h"
#include "mlx_native/ggml_type.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// Decodes whole blocks to f32, exactly as ggml does (same operations in the same order). Any byte pattern gives
/// floats. InvalidArgument where `blocks` is not a whole number of blocks; UnsupportedDtype for a type outside
/// weight_formats(); BufferAllocationError where memory runs out.
Result<std::vector<float>> dequantize(GgmlType type, std::span<const std::uint8_t> blocks);

/// As above, into the caller's memory. InvalidArgument where `values` is not exactly of the decoded length.
Result<void> dequantize(GgmlType type, std::span<const std::uint8_t> blocks, std::span<float> values);

/// Encodes values to blocks of ggml's layout, searching for the scales of least squared error, weighted by `importance`
/// (empty, or one finite weight >= 0 per value). A block's bytes depend on its own values and weights alone, so that
/// rows may be encoded in any pieces and by many threads at once. Every block decodes to finite values: what lies
/// beyond the format's range saturates. InvalidArgument for infinite and NaN values and for a count that is not a
/// multiple of the block; UnsupportedDtype and BufferAllocationError as above.
Result<std::vector<std::uint8_t>> quantize(GgmlType type, std::span<const float> values,
                                           std::span<const float> importance = {});

}  // namespace mlx_native
