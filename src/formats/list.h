// The list of weight formats: the one place, besides a format's own two files, that a new format touches. CMake reads
// the MLXN_FORMAT lines too, to make one translation unit per format and kernel family.
#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/f32.h"
#include "formats/iq4_nl.h"
#include "formats/iq4_xs.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_0.h"
#include "formats/q4_1.h"
#include "formats/q4_k.h"
#include "formats/q5_0.h"
#include "formats/q5_1.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"
#include "formats/q8_0.h"
#include "mlx_native/ggml_type.h"

// MLXN_FORMAT(struct and GgmlType, ggml's name), in the order of ggml's numbers
// clang-format off
#define MLXN_FORMATS(MLXN_FORMAT) \
  MLXN_FORMAT(F32, f32)           \
  MLXN_FORMAT(F16, f16)           \
  MLXN_FORMAT(Q4_0, q4_0)         \
  MLXN_FORMAT(Q4_1, q4_1)         \
  MLXN_FORMAT(Q5_0, q5_0)         \
  MLXN_FORMAT(Q5_1, q5_1)         \
  MLXN_FORMAT(Q8_0, q8_0)         \
  MLXN_FORMAT(Q2_K, q2_K)         \
  MLXN_FORMAT(Q3_K, q3_K)         \
  MLXN_FORMAT(Q4_K, q4_K)         \
  MLXN_FORMAT(Q5_K, q5_K)         \
  MLXN_FORMAT(Q6_K, q6_K)         \
  MLXN_FORMAT(IQ4_NL, iq4_nl)     \
  MLXN_FORMAT(IQ4_XS, iq4_xs)     \
  MLXN_FORMAT(BF16, bf16)
// clang-format on

namespace mlx_native {

/// GgmlType of a format struct.
template <class Format>
inline constexpr GgmlType kTypeOf = GgmlType(~0u);
#define MLXN_FORMAT(Name, ggml_name) \
  template <>                        \
  inline constexpr GgmlType kTypeOf<Name> = GgmlType::Name;
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

/// Calls visit.template operator()<Format>() for the format of `type`; false where the library has none.
template <class Visit>
bool with_format(GgmlType type, Visit&& visit) {
  switch (type) {
#define MLXN_FORMAT(Name, ggml_name) \
  case GgmlType::Name: visit.template operator()<Name>(); return true;
    MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
    default: return false;
  }
}

}  // namespace mlx_native
