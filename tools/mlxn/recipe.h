// Which type every tensor of a model gets: one type for all weights, or a mix of several.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/ggml_type.h"
#include "mlx_native/gguf.h"

namespace mlxn {

/// ggml's revision of the quantized layouts: general.quantization_version.
inline constexpr std::uint32_t kQuantizationVersion = 2;

struct Recipe {
  std::string name;             ///< as on the command line: "q4_k_m"
  mlx_native::GgmlType base;    ///< of the weights that no rule names
  std::uint32_t file_type;      ///< value of general.file_type
  bool more_bits_where_needed;  ///< the rules of llama.cpp's ..._M mixes
};

/// Case ignored.
std::optional<Recipe> find_recipe(std::string_view name);
std::vector<std::string> recipe_names();

/// Name of the recipe with that value of general.file_type.
std::string file_type_name(std::optional<std::uint32_t> file_type);

/// What the choice depends on.
struct Outline {
  std::string architecture;
  std::optional<std::uint32_t> layers;  ///< as the metadata say; without, as the tensors' names do
  std::uint32_t experts = 0;
  std::span<const mlx_native::TensorInfo> tensors;  ///< name, shape and type; where they lie does not matter
};
/// `file` outlives it.
Outline outline_of(const mlx_native::GgufFile& file);

struct PlannedTensor {
  const mlx_native::TensorInfo* source;
  mlx_native::GgmlType type;
  /// What the recipe asked for, where rows of this length cannot be cut into its blocks.
  std::optional<mlx_native::GgmlType> wanted;
};

/// What becomes of every tensor, in the given order. As they are stay: tensors of one dimension, norms, the router of
/// experts, and everything that is not a weight matrix. Where a row is not a multiple of the type's block: q8_0, and
/// where it is not a multiple of that block either: f16.
std::vector<PlannedTensor> plan(const Outline& model, const Recipe& recipe);

}  // namespace mlxn
