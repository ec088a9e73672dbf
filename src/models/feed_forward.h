// The half of a layer that works on each token alone.
#pragma once

#include <cstdint>

#include "models/pass.h"
#include "models/weights.h"

namespace mlx_native {

/// hidden += W_down (silu(W_gate x) * W_up x), where x = rms_norm(hidden).
class SwiGlu {
 public:
  static Result<SwiGlu> load(WeightLoader& weights, const ModelConfig& config, std::uint32_t layer);
  Result<void> record(Pass& pass) const;

 private:
  SwiGlu(MlxBuffer norm, Linear gate, Linear up, Linear down)
      : norm_(std::move(norm)), gate_(std::move(gate)), up_(std::move(up)), down_(std::move(down)) {}
  MlxBuffer norm_;
  Linear gate_, up_, down_;
};

/// hidden += sum of p_e SwiGLU_e(x) over the n_experts_used experts e of largest p, where x = rms_norm(hidden) and p is
/// the softmax of W_router x, renormalised over those experts if the model says so.
class MixtureOfExperts {
 public:
  static Result<MixtureOfExperts> load(WeightLoader& weights, const ModelConfig& config, std::uint32_t layer);
  Result<void> record(Pass& pass) const;

 private:
  MixtureOfExperts(MlxBuffer norm, Linear router, ExpertLinear gate, ExpertLinear up, ExpertLinear down)
      : norm_(std::move(norm)),
        router_(std::move(router)),
        gate_(std::move(gate)),
        up_(std::move(up)),
        down_(std::move(down)) {}
  MlxBuffer norm_;
  Linear router_;
  ExpertLinear gate_, up_, down_;
};

}  // namespace mlx_native
