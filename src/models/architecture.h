// Families of models. A new one is a file with a function like those below, and a row in architecture.cpp.
#pragma once

#include <memory>
#include <string_view>

#include "mlx_native/models/model.h"
#include "models/pass.h"
#include "models/weights.h"

namespace mlx_native {

/// The layers of a model, between its embedding and its head.
class Layers {
 public:
  virtual ~Layers() = default;
  /// Records what happens to pass.act.hidden.
  virtual Result<void> record(Pass& pass) const = 0;
};

/// Loads the layers. GgufParseError where the config is not one that the family has.
using LoadLayers = Result<std::unique_ptr<const Layers>> (*)(const ModelConfig& config, WeightLoader& weights);

Result<std::unique_ptr<const Layers>> load_llama(const ModelConfig& config, WeightLoader& weights);
Result<std::unique_ptr<const Layers>> load_qwen3(const ModelConfig& config, WeightLoader& weights);
Result<std::unique_ptr<const Layers>> load_qwen3moe(const ModelConfig& config, WeightLoader& weights);

/// By `general.architecture`; null for an unknown one.
LoadLayers find_architecture(std::string_view name);

}  // namespace mlx_native
