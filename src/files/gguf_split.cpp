#include "files/gguf_split.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "files/limits.h"
#include "files/text.h"

namespace mlx_native {

namespace {

constexpr auto kParseError = ErrorKind::GgufParseError;

Result<std::uint64_t> integer(const GgufPart& part, std::string_view key, std::uint64_t absent) {
  const auto* value = part.find(key);
  if (!value) return absent;
  const auto number = value->as_u64();
  if (!number) return error(kParseError, "{} must be an unsigned integer", key);
  return *number;
}

Result<std::uint64_t> split_count(const GgufPart& part) {
  MLXN_ASSIGN(const auto count, integer(part, "split.count", 1));
  if (count > limits::kMaxSplits)
    return error(kParseError, "split.count is {}, at most {} are allowed", count, limits::kMaxSplits);
  return std::max<std::uint64_t>(count, 1);  // 0 is what a file says that was merged of parts
}

}  // namespace

Result<std::vector<std::filesystem::path>> further_parts(const std::filesystem::path& path, const GgufPart& first) {
  MLXN_ASSIGN(const auto count, split_count(first));
  std::vector<std::filesystem::path> paths;
  if (count == 1) return paths;
  MLXN_ASSIGN(const auto number, integer(first, "split.no", 0));
  if (number != 0) return error(kParseError, "this is part {} of {}: open the first part", number + 1, count);

  const auto suffix = [&](std::uint64_t part) { return fmt::format("-{:05}-of-{:05}.gguf", part, count); };
  const std::string name = path.filename().string();
  if (!name.ends_with(suffix(1)))
    return error(kParseError,
                 "this is part 1 of {}, but its name does not end in {}, so that the others cannot be found", count,
                 suffix(1));
  const auto stem = name.substr(0, name.size() - suffix(1).size());
  for (std::uint64_t part = 2; part <= count; ++part) paths.push_back(path.parent_path() / (stem + suffix(part)));
  return paths;
}

Result<void> check_part(const GgufPart& part, const GgufPart& first, std::uint64_t index, std::uint64_t count) {
  MLXN_ASSIGN(const auto number, integer(part, "split.no", 0));
  MLXN_ASSIGN(const auto parts, split_count(part));
  if (number != index || parts != count)
    return error(kParseError, "this says that it is part {} of {}, needed is part {} of {}", number + 1, parts,
                 index + 1, count);
  if (index == 0) return {};
  for (const auto& [key, value] : part.metadata) {
    if (key == "split.no") continue;
    const auto* same = first.find(key);
    if (same && same->value != value.value)
      return error(kParseError, "{} differs from the first part's: a part of another model", shown(key));
  }
  return {};
}

Result<void> check_split_tensors(const GgufPart& first, std::uint64_t tensors) {
  MLXN_ASSIGN(const auto announced, integer(first, "split.tensors.count", tensors));
  if (announced != tensors)
    return error(kParseError, "split.tensors.count is {}, the parts hold {} tensors", announced, tensors);
  return {};
}

}  // namespace mlx_native
