#pragma once

#include <mlx_native/error.h>

#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>

/// The value of a result; where there is none, the program ends with its message.
template <class T>
T check(mlx_native::Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
