#pragma once

namespace [[gnu::visibility("default")]] mlx_native {

/// The version of these headers: the one place where it is written; the build reads it from here.
inline constexpr char kVersion[] = "0.1.0";

}  // namespace mlx_native
