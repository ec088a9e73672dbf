#include "mlx_native/ops/norm.h"

#include <cmath>

#include "args/norm.h"
#include "ops/check.h"
#include "runtime/encode.h"

namespace mlx_native {

using namespace detail;

Result<void> rms_norm(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output, const RmsNormParams& params) {
  constexpr std::string_view op = "rms_norm";
  const auto [rows, dim, eps] = params;
  MLXN_TRY(ops::check_extent(op, "rows", rows));
  MLXN_TRY(ops::check_extent(op, "dim", dim));
  if (!(eps >= 0) || !std::isfinite(eps)) return invalid("{}: eps is {}, it must be finite and at least 0", op, eps);
  MLXN_TRY(ops::check_buffer(op, encoder, device, {"input", input}, DType::F32, {rows, dim}));
  MLXN_TRY(ops::check_buffer(op, encoder, device, {"weight", weight}, DType::F32, {dim}));
  MLXN_TRY(ops::check_output(op, encoder, device, {"output", output}, DType::F32, {rows, dim}));
  MLXN_TRY(ops::check_apart_or_same(op, {"output", output}, {"input", input}));
  MLXN_TRY(ops::check_apart(op, {"output", output}, {"weight", weight}));
  return encode({encoder, registry, device}, Op::RmsNorm, {}, Precision::Full,
                RmsNormArgs{in<float>(input), in<float>(weight), out<float>(output), rows, dim, eps},
                {BufferAccess::use(input, false), BufferAccess::use(weight, false), BufferAccess::use(output, true)});
}

}  // namespace mlx_native
