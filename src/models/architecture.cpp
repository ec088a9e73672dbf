#include "models/architecture.h"

namespace mlx_native {
namespace {

constexpr std::string_view kNames[] = {"llama", "qwen3", "qwen3moe"};
constexpr LoadLayers kLoaders[] = {load_llama, load_qwen3, load_qwen3moe};

}  // namespace

std::span<const std::string_view> model_architectures() { return kNames; }

LoadLayers find_architecture(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == name) return kLoaders[i];
  return nullptr;
}

}  // namespace mlx_native
