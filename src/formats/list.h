// The list of weight formats: the one place, besides a format's own two files, that a new format touches. CMake reads the
// MLXN_FORMAT lines too, to make one translation unit per format and kernel family.
#pragma once

#include "formats/q4_k.h"
#include "mlx_native/ggml_type.h"

// MLXN_FORMAT(name of struct and GgmlType, ggml's name), in the order of ggml's numbers
#define MLXN_FORMATS(MLXN_FORMAT) \
  MLXN_FORMAT(Q4_K, q4_K)

namespace mlx_native {

/// GgmlType of a format struct.
template <class Format>
inline constexpr GgmlType kTypeOf = GgmlType(~0u);
#define MLXN_FORMAT(Name, name) \
  template <>                   \
  inline constexpr GgmlType kTypeOf<Name> = GgmlType::Name;
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

/// Calls visit.template operator()<Format>() for the format of `type`; false where the library has none.
template <class Visit>
bool with_format(GgmlType type, Visit&& visit) {
  switch (type) {
#define MLXN_FORMAT(Name, name)            \
  case GgmlType::Name:                     \
    visit.template operator()<Name>();     \
    return true;
    MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
    default: return false;
  }
}

}  // namespace mlx_native
