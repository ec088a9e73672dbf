#include "mlx_native/ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "args/sampling.h"
#include "core/sample_weight.h"
#include "ops/call.h"

namespace mlx_native {

namespace {

/// `x` in units of 1 / one, rounded up.
std::uint32_t fixed_point(float x, std::uint32_t one) {
  return static_cast<std::uint32_t>(std::ceil(static_cast<double>(x) * one));
}

/// The factor of sample_weight; a temperature near 0 is greedy long before it leaves the floats.
float weight_scale(float temperature) {
  if (temperature == 0) return 0;
  const double scale = 0x1p26 / (std::log(2.0) * static_cast<double>(temperature));
  return static_cast<float>(std::min(scale, static_cast<double>(std::numeric_limits<float>::max())));
}

std::string describe_logit_fault(std::uint32_t index) {
  if (index == UINT32_MAX - 1) return "sample: no logit is finite";
  return fmt::format("sample: logit {} is NaN or +infinite", index);
}

}  // namespace

Result<void> argmax(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                    const MlxBuffer& input, MlxBuffer& index, const ArgmaxParams& params) {
  const auto [rows, cols] = params;
  ops::Call call("argmax", encoder, registry, device);
  call.extents({{"rows", rows}, {"cols", cols}});
  const auto* const x = call.read<float>("input", input, {rows, cols});
  auto* const y = call.write<std::uint32_t>("index", index, {rows});
  return call.encode(ops::Op::Argmax, ArgmaxArgs{x, y, nullptr, nullptr, rows, cols},
                     [](std::uint32_t row) { return fmt::format("argmax: row {} holds a NaN", row); });
}

Result<void> check_sample_params(const SampleParams& params) {
  const auto [n_vocab, n_history, repeat_penalty, temperature, top_k, top_p, min_p, seed, step] = params;
  if (n_vocab == 0) return invalid("sample: n_vocab is 0, it must be at least 1");
  if (!(std::isfinite(repeat_penalty) && repeat_penalty > 0))
    return invalid("sample: repeat_penalty is {}, it must be finite and above 0", repeat_penalty);
  if (!(std::isfinite(temperature) && temperature >= 0))
    return invalid("sample: temperature is {}, it must be finite and at least 0", temperature);
  if (!(top_p > 0 && top_p <= 1)) return invalid("sample: top_p is {}, it must be in (0, 1]", top_p);
  if (!(min_p >= 0 && min_p <= 1)) return invalid("sample: min_p is {}, it must be in [0, 1]", min_p);
  return {};
}

Result<void> sample(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                    const MlxBuffer& logits, const MlxBuffer* history, MlxBuffer& token, const SampleParams& params) {
  MLXN_TRY(check_sample_params(params));
  const auto [n_vocab, n_history, repeat_penalty, temperature, top_k, top_p, min_p, seed, step] = params;
  ops::Call call("sample", encoder, registry, device);
  call.require(history || n_history == 0, "n_history is {}, but there is no history", n_history);
  const auto* const x = call.read<float>("logits", logits, {n_vocab});
  const auto* const h = history && n_history ? call.read<std::uint32_t>("history", *history, {n_history}) : nullptr;
  auto* const t = call.write<std::uint32_t>("token", token, {1});
  if (!call.ok()) return call.failure();
  return call.encode(ops::Op::Sample,
                     SampleArgs{.logits = x,
                                .history = h,
                                .token = t,
                                .fault = nullptr,
                                .scratch = nullptr,
                                .seed = seed,
                                .step = step,
                                .n_vocab = n_vocab,
                                .n_history = n_history,
                                .top_k = top_k == 0 ? n_vocab : std::min(top_k, n_vocab),
                                .top_p = fixed_point(top_p, kTopPOne),
                                .min_weight = fixed_point(min_p, kSampleWeightOne),
                                .penalty = repeat_penalty,
                                .inverse_penalty = 1.0f / repeat_penalty,
                                .scale = weight_scale(temperature)},
                     describe_logit_fault);
}

}  // namespace mlx_native
