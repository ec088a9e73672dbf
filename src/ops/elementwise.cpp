#include "mlx_native/ops/elementwise.h"

#include "args/elementwise.h"
#include "ops/call.h"

namespace mlx_native {

namespace {

using ops::Op;

Result<void> binary(ops::Call call, Op op, const MlxBuffer& a, const MlxBuffer& b, MlxBuffer& output,
                    const ElementwiseParams& params) {
  const auto [rows, cols, broadcast_b] = params;
  const std::uint32_t b_rows = broadcast_b ? 1 : rows;
  call.extents({{"rows", rows}, {"cols", cols}});
  const auto* const x = call.read<float>("a", a, {rows, cols});
  const auto* const y = call.read<float>("b", b, {b_rows, cols});
  auto* const z = call.write<float>("output", output, {rows, cols}, {"a", "b"});
  return call.encode(op, BinaryArgs{x, y, z, rows, cols, b_rows});
}

}  // namespace

Result<void> elementwise_add(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                             const MlxBuffer& a, const MlxBuffer& b, MlxBuffer& output,
                             const ElementwiseParams& params) {
  return binary({"elementwise_add", encoder, registry, device}, Op::Add, a, b, output, params);
}

Result<void> elementwise_mul(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                             const MlxBuffer& a, const MlxBuffer& b, MlxBuffer& output,
                             const ElementwiseParams& params) {
  return binary({"elementwise_mul", encoder, registry, device}, Op::Mul, a, b, output, params);
}

Result<void> silu_mul(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& gate, const MlxBuffer& up, MlxBuffer& output, const ActivationParams& params) {
  ops::Call call("silu_mul", encoder, registry, device);
  call.extents({{"n", params.n}});
  const auto* const g = call.read<float>("gate", gate, {params.n});
  const auto* const u = call.read<float>("up", up, {params.n});
  auto* const y = call.write<float>("output", output, {params.n}, {"gate", "up"});
  return call.encode(Op::SiluMul, SiluMulArgs{g, u, y, params.n});
}

Result<void> gelu(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                  const MlxBuffer& input, MlxBuffer& output, const GeluParams& params) {
  const auto [n, kind] = params;
  ops::Call call("gelu", encoder, registry, device);
  call.extents({{"n", n}});
  call.require(kind == GeluKind::Tanh || kind == GeluKind::Erf, "kind is {}, which is none", static_cast<int>(kind));
  const auto* const x = call.read<float>("input", input, {n});
  auto* const y = call.write<float>("output", output, {n}, {"input"});
  return call.encode(Op::Gelu, GeluArgs{x, y, n, kind == GeluKind::Erf});
}

}  // namespace mlx_native
