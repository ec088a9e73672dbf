#include "mlx_native/ggml_type.h"

#include <algorithm>
#include <array>

#include "formats/list.h"

namespace mlx_native {
namespace {

struct Row {
  GgmlType type;
  GgmlLayout layout;
};

constexpr Row kRows[] = {
    {GgmlType::F32, {"f32", 1, 4}},
    {GgmlType::F16, {"f16", 1, 2}},
    {GgmlType::Q4_0, {"q4_0", 32, 18}},
    {GgmlType::Q4_1, {"q4_1", 32, 20}},
    {GgmlType::Q5_0, {"q5_0", 32, 22}},
    {GgmlType::Q5_1, {"q5_1", 32, 24}},
    {GgmlType::Q8_0, {"q8_0", 32, 34}},
    {GgmlType::Q8_1, {"q8_1", 32, 36}},
    {GgmlType::Q2_K, {"q2_K", 256, 84}},
    {GgmlType::Q3_K, {"q3_K", 256, 110}},
    {GgmlType::Q4_K, {"q4_K", 256, 144}},
    {GgmlType::Q5_K, {"q5_K", 256, 176}},
    {GgmlType::Q6_K, {"q6_K", 256, 210}},
    {GgmlType::Q8_K, {"q8_K", 256, 292}},
    {GgmlType::IQ2_XXS, {"iq2_xxs", 256, 66}},
    {GgmlType::IQ2_XS, {"iq2_xs", 256, 74}},
    {GgmlType::IQ3_XXS, {"iq3_xxs", 256, 98}},
    {GgmlType::IQ1_S, {"iq1_s", 256, 50}},
    {GgmlType::IQ4_NL, {"iq4_nl", 32, 18}},
    {GgmlType::IQ3_S, {"iq3_s", 256, 110}},
    {GgmlType::IQ2_S, {"iq2_s", 256, 82}},
    {GgmlType::IQ4_XS, {"iq4_xs", 256, 136}},
    {GgmlType::I8, {"i8", 1, 1}},
    {GgmlType::I16, {"i16", 1, 2}},
    {GgmlType::I32, {"i32", 1, 4}},
    {GgmlType::I64, {"i64", 1, 8}},
    {GgmlType::F64, {"f64", 1, 8}},
    {GgmlType::IQ1_M, {"iq1_m", 256, 56}},
    {GgmlType::BF16, {"bf16", 1, 2}},
    {GgmlType::TQ1_0, {"tq1_0", 256, 54}},
    {GgmlType::TQ2_0, {"tq2_0", 256, 66}},
    {GgmlType::MXFP4, {"mxfp4", 32, 17}},
    {GgmlType::NVFP4, {"nvfp4", 64, 36}},
    {GgmlType::Q1_0, {"q1_0", 128, 18}},
    {GgmlType::Q2_0, {"q2_0", 64, 18}},
};

constexpr const Row* find(GgmlType type) {
  for (const Row& row : kRows) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

#define MLXN_FORMAT(Name, ggml_name)                                         \
  static_assert(find(GgmlType::Name)->layout.name == #ggml_name);            \
  static_assert(find(GgmlType::Name)->layout.block_values == Name::kValues); \
  static_assert(find(GgmlType::Name)->layout.block_bytes == sizeof(Name::Block));
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

constexpr GgmlType kWeightFormats[] = {
#define MLXN_FORMAT(Name, ggml_name) GgmlType::Name,
    MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
};
static_assert(std::is_sorted(std::begin(kWeightFormats), std::end(kWeightFormats)));

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; }

}  // namespace

std::optional<GgmlLayout> ggml_layout(GgmlType type) {
  const Row* row = find(type);
  return row ? std::optional(row->layout) : std::nullopt;
}

std::string_view ggml_type_name(GgmlType type) {
  const Row* row = find(type);
  return row ? row->layout.name : "unknown";
}

std::optional<GgmlType> ggml_type_from_name(std::string_view name) {
  for (const Row& row : kRows) {
    if (std::ranges::equal(name, row.layout.name, {}, lower, lower)) return row.type;
  }
  return std::nullopt;
}

std::span<const GgmlType> weight_formats() { return kWeightFormats; }

bool is_weight_format(GgmlType type) { return std::ranges::find(kWeightFormats, type) != std::end(kWeightFormats); }

}  // namespace mlx_native
