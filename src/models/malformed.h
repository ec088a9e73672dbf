#pragma once

#include <utility>

#include "core/error.h"

namespace mlx_native {

/// The error of a file whose metadata or tensors a model cannot use.
template <class... Args>
tl::unexpected<MlxError> malformed(fmt::format_string<Args...> format, Args&&... args) {
  return error(ErrorKind::GgufParseError, format, std::forward<Args>(args)...);
}

}  // namespace mlx_native
