#include "models/architecture.h"

#include <algorithm>
#include <array>

namespace mlx_native {
namespace {

struct Row {
  std::string_view name;
  LoadLayers load;
};
constexpr Row kArchitectures[] = {
    {"llama", load_llama},
    {"qwen3", load_qwen3},
    {"qwen3moe", load_qwen3moe},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kArchitectures)> names;
  std::ranges::transform(kArchitectures, names.begin(), &Row::name);
  return names;
}();

}  // namespace

std::span<const std::string_view> model_architectures() { return kNames; }

LoadLayers find_architecture(std::string_view name) {
  const auto found = std::ranges::find(kArchitectures, name, &Row::name);
  return found == std::end(kArchitectures) ? nullptr : found->load;
}

}  // namespace mlx_native
