#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace [[gnu::visibility("default")]] mlx_native {

/// Every type that ggml numbers, as in GGUF files. weight_formats() are those that this library computes with. A number
/// without a name here may still occur in a file: the file opens and the tensor is listed, but using it is an
/// UnsupportedDtype error.
enum class GgmlType : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
  NVFP4 = 40,
  Q1_0 = 41,
  Q2_0 = 42,
};

/// Storage of a type: `block_values` consecutive values of a row in `block_bytes` bytes.
struct GgmlLayout {
  std::string_view name;  ///< ggml's lower-case name: "q4_K"
  std::uint32_t block_values;
  std::uint32_t block_bytes;
};

/// Layout of any type that ggml has ever numbered and still uses; nullopt for removed and unknown numbers.
std::optional<GgmlLayout> ggml_layout(GgmlType type);

/// ggml's name of the type ("q4_K"), or "unknown".
std::string_view ggml_type_name(GgmlType type);

/// The type of that name, case ignored ("Q4_K", "q4_k"), or nullopt.
std::optional<GgmlType> ggml_type_from_name(std::string_view name);

/// The types that this library can multiply by, decode and encode, in the order of their numbers.
std::span<const GgmlType> weight_formats();

/// Whether `type` is one of weight_formats().
bool is_weight_format(GgmlType type);

}  // namespace mlx_native
