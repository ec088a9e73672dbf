#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/architecture.h"
#include "models/attention_block.h"

namespace mlx_native {

/// The usual decoder: every layer is attention over the sequence so far, then a feed-forward network on each token
/// alone. Both read the residual stream and add to it.
template <class FeedForward>
class Decoder final : public Layers {
 public:
  static Result<std::unique_ptr<const Layers>> load(const ModelConfig& config, WeightLoader& weights,
                                                    const AttentionStyle& style) {
    std::vector<Layer> layers;
    for (std::uint32_t i = 0; i < config.n_layers; ++i) {
      MLXN_ASSIGN(AttentionBlock attention, AttentionBlock::load(weights, config, i, style));
      MLXN_ASSIGN(FeedForward feed_forward, FeedForward::load(weights, config, i));
      layers.push_back({std::move(attention), std::move(feed_forward)});
    }
    return std::unique_ptr<const Layers>(new Decoder(std::move(layers)));
  }

  Result<void> record(Pass& pass) const override {
    for (const Layer& layer : layers_) {
      MLXN_TRY(layer.attention.record(pass));
      MLXN_TRY(layer.feed_forward.record(pass));
    }
    return {};
  }

 private:
  struct Layer {
    AttentionBlock attention;
    FeedForward feed_forward;
  };
  explicit Decoder(std::vector<Layer> layers) : layers_(std::move(layers)) {}
  std::vector<Layer> layers_;
};

}  // namespace mlx_native
