#include "mlx_native/ops/matmul.h"

#include "args/matmul.h"
#include "core/checked.h"
#include "ops/call.h"

namespace mlx_native {

namespace {

using ops::Call;
using ops::Op;

void check_precision(Call& call, Precision precision) {
  call.require(precision >= Precision::Auto && precision <= Precision::Int8, "precision is {}, which is none",
               static_cast<int>(precision));
}

/// What Auto stands for. On the CPU: whatever keeps Half's bound and is fastest, which for one row is Full. On GPUs:
/// Half for many rows, but Full where f16 operands would save less than a microsecond or two.
Precision resolved(Precision precision, Backend backend, bool many, std::uint64_t rows, std::uint64_t n,
                   std::uint64_t k) {
  constexpr double kWorthSaving = 1.5e8;
  if (precision != Precision::Auto) return precision;
  if (backend == Backend::Cpu) return Precision::Half;
  const double products = static_cast<double>(rows) * static_cast<double>(n) * static_cast<double>(k);
  return many && products >= kWorthSaving ? Precision::Half : Precision::Full;
}

Result<void> product(Call call, bool mat_mat, const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output,
                     const GgmlQuantizedMatmulParams& params) {
  const auto [m, n, k, type, precision] = params;
  call.extents({{"m", m}, {"n", n}, {"k", k}});
  check_precision(call, precision);
  const std::uint64_t row_bytes = call.row_bytes(type, "k", k);
  const auto* const w = call.read_blocks("weight", weight, type, checked_mul(n, row_bytes));
  const auto* const x = call.read<float>("input", input, {m, k});
  auto* const y = call.write<float>("output", output, {m, n});
  const MatmulArgs args{w, x, y, nullptr, row_bytes, m, n, k};
  const Precision wanted = resolved(precision, call.backend(), mat_mat, m, n, k);
  return mat_mat ? call.encode({Op::MatMat, Op::MatVec}, type, wanted, args)
                 : call.encode({Op::MatVec, Op::MatMat}, type, wanted, args);
}

Result<void> routed_product(Call call, bool mat_mat, const MlxBuffer& input, const MlxBuffer& weight,
                            const MlxBuffer& ids, MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params) {
  const auto [n_tokens, top_k, n, k, n_experts, expert_stride, type, precision] = params;
  call.extents({{"n_tokens", n_tokens}, {"top_k", top_k}, {"n", n}, {"k", k}, {"n_experts", n_experts}});
  check_precision(call, precision);
  const std::uint64_t row_bytes = call.row_bytes(type, "k", k);
  const auto expert_bytes = checked_mul(n, row_bytes);
  call.require(expert_bytes && expert_stride >= *expert_bytes, "expert_stride is {}, an expert has {} x {} bytes",
               expert_stride, n, row_bytes);
  const std::size_t alignment = call.block_alignment(type);
  call.require(expert_stride % alignment == 0, "expert_stride is {}, {} needs a multiple of {}", expert_stride,
               ggml_type_name(type), alignment);
  const auto before_last = call.ok() ? checked_mul(n_experts - 1, expert_stride) : std::nullopt;
  const auto bytes = before_last ? checked_add(*before_last, *expert_bytes) : std::nullopt;
  const auto* const w = call.read_blocks("weight", weight, type, bytes);
  const auto* const x = call.read<float>("input", input, {n_tokens, k});
  const auto* const e = call.read_ids("ids", ids, {n_tokens, top_k}, n_experts, "n_experts");
  auto* const y = call.write<float>("output", output, {n_tokens, top_k, n});
  const MatmulIdArgs args{w, x, e, y, nullptr, row_bytes, expert_stride, n_tokens, top_k, n, k, n_experts};
  const std::uint64_t slots = std::uint64_t{n_tokens} * top_k;
  const Precision wanted = resolved(precision, call.backend(), mat_mat || slots > n_experts, slots, n, k);
  return mat_mat ? call.encode({Op::MatMatId, Op::MatVecId}, type, wanted, args)
                 : call.encode({Op::MatVecId, Op::MatMatId}, type, wanted, args);
}

}  // namespace

Result<void> quantized_matmul_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                   const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output,
                                   const GgmlQuantizedMatmulParams& params) {
  return product({"quantized_matmul_ggml", encoder, registry, device}, params.m > MM_ROUTING_THRESHOLD, input, weight,
                 output, params);
}

Result<void> dispatch_mm_for_test(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                  const MlxBuffer& input, const MlxBuffer& weight, MlxBuffer& output,
                                  const GgmlQuantizedMatmulParams& params) {
  return product({"dispatch_mm_for_test", encoder, registry, device}, true, input, weight, output, params);
}

Result<void> quantized_matmul_id_ggml(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                      const MlxBuffer& input, const MlxBuffer& weight, const MlxBuffer& ids,
                                      MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params) {
  return routed_product({"quantized_matmul_id_ggml", encoder, registry, device},
                        params.n_tokens > MM_ID_ROUTING_THRESHOLD, input, weight, ids, output, params);
}

Result<void> dispatch_id_mm_for_test(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                                     const MlxBuffer& input, const MlxBuffer& weight, const MlxBuffer& ids,
                                     MlxBuffer& output, const GgmlQuantizedMatmulIdParams& params) {
  return routed_product({"dispatch_id_mm_for_test", encoder, registry, device}, true, input, weight, ids, output,
                        params);
}

}  // namespace mlx_native
