#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "mlx_native/error.h"

namespace mlx_native {

/// tl::unexpected of that kind with a formatted message: `return error(ErrorKind::IoError, "cannot open {}", path);`
template <class... Args>
tl::unexpected<MlxError> error(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected(MlxError{kind, fmt::format(format, std::forward<Args>(args)...)});
}

template <class... Args>
tl::unexpected<MlxError> invalid(fmt::format_string<Args...> format, Args&&... args) {
  return error(ErrorKind::InvalidArgument, format, std::forward<Args>(args)...);
}

/// Passes an error on: `MLXN_TRY(check(x));`
#define MLXN_TRY(expression)                                                         \
  do {                                                                               \
    if (auto mlxn_result = (expression); !mlxn_result)                               \
      return tl::unexpected<::mlx_native::MlxError>(std::move(mlxn_result).error()); \
  } while (false)

#define MLXN_CONCAT_INNER(a, b) a##b
#define MLXN_CONCAT(a, b) MLXN_CONCAT_INNER(a, b)
/// Unwraps a value or passes its error on: `MLXN_ASSIGN(const auto file, open(path));`
#define MLXN_ASSIGN(declaration, expression) \
  MLXN_ASSIGN_INNER(declaration, expression, MLXN_CONCAT(mlxn_value_, __LINE__))
#define MLXN_ASSIGN_INNER(declaration, expression, name)                             \
  auto name = (expression);                                                          \
  if (!name) return tl::unexpected<::mlx_native::MlxError>(std::move(name).error()); \
  declaration = std::move(*name)

}  // namespace mlx_native
