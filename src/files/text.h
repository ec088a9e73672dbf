// Text that comes from a file.
#pragma once

#include <string>
#include <string_view>

namespace mlx_native {

/// Whether `text` is UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text);

/// Whether `text` can be the name of a key or tensor: not empty, UTF-8, no control characters (NUL, terminal escapes).
bool is_name(std::string_view text);

/// For messages: in quotes, shortened, everything but printable ASCII as \xNN.
std::string shown(std::string_view text);

}  // namespace mlx_native
