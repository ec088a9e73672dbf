#include "recipe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <map>
#include <utility>

namespace mlxn {

namespace {

using mlx_native::GgmlType;
using mlx_native::GgufFile;
using mlx_native::TensorInfo;

/// llama.cpp's number of "all weights of this type", kGuessed where it has none.
std::uint32_t file_type_of(GgmlType type) {
  constexpr std::uint32_t kGuessed = 1024;
  switch (type) {
    case GgmlType::F32: return 0;
    case GgmlType::F16: return 1;
    case GgmlType::Q4_0: return 2;
    case GgmlType::Q4_1: return 3;
    case GgmlType::Q8_0: return 7;
    case GgmlType::Q5_0: return 8;
    case GgmlType::Q5_1: return 9;
    case GgmlType::Q2_K: return 10;
    case GgmlType::Q3_K: return 11;
    case GgmlType::Q4_K: return 14;
    case GgmlType::Q5_K: return 16;
    case GgmlType::Q6_K: return 18;
    case GgmlType::IQ2_XXS: return 19;
    case GgmlType::IQ2_XS: return 20;
    case GgmlType::IQ3_XXS: return 23;
    case GgmlType::IQ1_S: return 24;
    case GgmlType::IQ4_NL: return 25;
    case GgmlType::IQ3_S: return 26;
    case GgmlType::IQ2_S: return 28;
    case GgmlType::IQ4_XS: return 30;
    case GgmlType::IQ1_M: return 31;
    case GgmlType::BF16: return 32;
    case GgmlType::TQ1_0: return 36;
    case GgmlType::TQ2_0: return 37;
    case GgmlType::MXFP4: return 38;
    default: return kGuessed;
  }
}
constexpr std::uint32_t kFileTypeQ4KM = 15;

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(text.begin(), text.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

std::vector<Recipe> recipes() {
  std::vector<Recipe> all;
  for (const GgmlType type : mlx_native::weight_formats())
    all.push_back({lower(mlx_native::ggml_type_name(type)), type, file_type_of(type), false});
  all.push_back({"q4_k_m", GgmlType::Q4_K, kFileTypeQ4KM, true});
  return all;
}

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

/// Weight matrices that products read; small ones and tables of positions are left out, as llama.cpp does.
bool is_quantizable(const TensorInfo& tensor) {
  constexpr std::array<std::string_view, 17> kKept = {
      "_norm.weight",  "ffn_gate_inp", "ffn_gate_tid2eid", "altup",          "laurel",         "per_layer_model_proj",
      "position_embd", "token_types",  "ssm_conv1d",       "shortconv.conv", "indexer.k_proj", "indexer.q_proj",
      "time_mix_",     "attn_rel_b",   ".pos_embd",        ".rel_pos",       ".patch_embd"};
  const auto matrix = std::count_if(tensor.shape.begin(), tensor.shape.end(), [](std::size_t n) { return n > 1; }) >= 2;
  return matrix && tensor.name.ends_with("weight") &&
         std::none_of(kKept.begin(), kKept.end(), [&](std::string_view part) { return contains(tensor.name, part); });
}

bool is_value_projection(std::string_view name) {
  return contains(name, "attn_v.weight") || contains(name, "attn_qkv.weight") || contains(name, "attn_kv_b.weight");
}

/// N of "blk.N.", 0 for tensors outside of the layers.
std::uint32_t layer_of(std::string_view name) {
  std::uint32_t layer = 0;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

/// llama.cpp's choice of the layers that deserve more bits: the first and the last eighth, and every third between.
bool use_more_bits(std::uint64_t layer, std::uint64_t layers) {
  const std::uint64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

/// What the rules of a mix look at beside the tensor's name.
struct Facts {
  std::uint32_t layers = 0;
  std::uint32_t experts = 0;
  bool tied_embeddings = false;
  bool is_70b = false;
  std::map<std::string_view, std::uint32_t> value_projections;  ///< name -> its place among them by layer

  explicit Facts(const Outline& model) : experts(model.experts), tied_embeddings(true) {
    std::vector<std::string_view> values;
    for (const auto& tensor : model.tensors) {
      if (tensor.name == "output.weight") tied_embeddings = false;
      if (tensor.name.starts_with("blk.")) layers = std::max(layers, layer_of(tensor.name) + 1);
      if (is_value_projection(tensor.name)) values.push_back(tensor.name);
    }
    layers = model.layers.value_or(layers);
    const auto place = [](std::string_view name) { return std::pair(layer_of(name), name); };
    std::sort(values.begin(), values.end(), [&](auto a, auto b) { return place(a) < place(b); });
    for (std::uint32_t i = 0; i < values.size(); ++i) value_projections[values[i]] = i;
    is_70b = layers == 80 && (model.architecture == "llama" || model.architecture == "qwen2");
  }
};

/// The rules of llama.cpp's Q4_K_M, top down.
GgmlType mixed_type(const TensorInfo& tensor, const Recipe& recipe, const Facts& facts) {
  const std::string_view name = tensor.name;
  const auto block = mlx_native::ggml_layout(recipe.base)->block_values;
  if (name == "output.weight" || (facts.tied_embeddings && name == "token_embd.weight"))
    return tensor.shape.back() % block == 0 ? GgmlType::Q6_K : GgmlType::Q8_0;
  if (is_value_projection(name)) {
    if (facts.experts == 8) return GgmlType::Q8_0;
    const auto count = static_cast<std::uint32_t>(facts.value_projections.size());
    if (use_more_bits(facts.value_projections.at(name), count)) return GgmlType::Q6_K;
    return facts.is_70b ? GgmlType::Q5_K : recipe.base;
  }
  if (contains(name, "attn_k.weight") && facts.experts == 8) return GgmlType::Q8_0;
  if (contains(name, "ffn_down") && use_more_bits(layer_of(name), facts.layers)) return GgmlType::Q6_K;
  if (contains(name, "attn_output.weight") && facts.experts == 8) return GgmlType::Q5_K;
  return recipe.base;
}

bool fits(GgmlType type, std::size_t row) {
  const auto layout = mlx_native::ggml_layout(type);
  return mlx_native::is_weight_format(type) && layout && row % layout->block_values == 0;
}

}  // namespace

std::optional<Recipe> find_recipe(std::string_view name) {
  for (auto& recipe : recipes())
    if (recipe.name == lower(name)) return recipe;
  return std::nullopt;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (auto& recipe : recipes()) names.push_back(recipe.name);
  return names;
}

std::string file_type_name(std::optional<std::uint32_t> file_type) {
  for (auto& recipe : recipes())
    if (file_type == recipe.file_type) return recipe.name;
  return "of unknown type";
}

Outline outline_of(const GgufFile& file) {
  const std::string architecture = file.metadata_string("general.architecture").value_or("");
  return {architecture, file.metadata_u32(architecture + ".block_count"),
          file.metadata_u32(architecture + ".expert_count").value_or(0), file.tensors()};
}

std::vector<PlannedTensor> plan(const Outline& model, const Recipe& recipe) {
  const Facts facts(model);
  std::vector<PlannedTensor> result;
  for (const auto& tensor : model.tensors) {
    PlannedTensor planned{&tensor, tensor.ggml_type, std::nullopt};
    if (is_quantizable(tensor)) {
      planned.type = recipe.more_bits_where_needed ? mixed_type(tensor, recipe, facts) : recipe.base;
      if (!fits(planned.type, tensor.shape.back())) {
        planned.wanted = planned.type;
        planned.type = fits(GgmlType::Q8_0, tensor.shape.back()) ? GgmlType::Q8_0 : GgmlType::F16;
      }
    }
    result.push_back(planned);
  }
  return result;
}

}  // namespace mlxn
