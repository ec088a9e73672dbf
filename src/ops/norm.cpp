#include "mlx_native/ops/norm.h"

#include "args/norm.h"
#include "ops/call.h"

namespace mlx_native {

Result<void> rms_norm(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output, const RmsNormParams& params) {
  const auto [rows, dim, eps] = params;
  ops::Call call("rms_norm", encoder, registry, device);
  call.extents({{"rows", rows}, {"dim", dim}});
  call.not_negative("eps", eps);
  const auto* const x = call.read<float>("input", input, {rows, dim});
  const auto* const w = call.read<float>("weight", weight, {dim});
  auto* const y = call.write<float>("output", output, {rows, dim}, {"input"});
  return call.encode(ops::Op::RmsNorm, RmsNormArgs{x, w, y, rows, dim, eps});
}

}  // namespace mlx_native
