// Files that were split: "model-00001-of-00003.gguf" and so on, each a GGUF file of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "files/gguf_parse.h"

namespace mlx_native {

/// Paths of the parts after `first`, whose path is `path`; empty for a file that is not split. They are made from the
/// name of the first alone, so that no metadata can name another place.
Result<std::vector<std::filesystem::path>> further_parts(const std::filesystem::path& path, const GgufPart& first);

/// Checks that `part` is number `index` (0-based) of `count` parts that begin with `first`.
Result<void> check_part(const GgufPart& part, const GgufPart& first, std::uint64_t index, std::uint64_t count);

/// Checks the number of tensors in all parts against what the first announces.
Result<void> check_split_tensors(const GgufPart& first, std::uint64_t tensors);

}  // namespace mlx_native
