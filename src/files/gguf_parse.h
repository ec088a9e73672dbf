#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "files/name_index.h"
#include "mlx_native/gguf.h"

namespace mlx_native {

using MetadataIndex = NameIndex<GgufFile::MetadataEntry, &GgufFile::MetadataEntry::key>;
using TensorIndex = NameIndex<TensorInfo, &TensorInfo::name>;

/// The header of one GGUF file. Keys are unique; every tensor of a known type lies inside the file, aligned, and
/// overlaps no other. Names of tensors may still repeat: that is asked over all parts at once.
struct GgufPart {
  std::uint32_t version = 0;
  std::vector<GgufFile::MetadataEntry> metadata;
  MetadataIndex metadata_index;
  std::vector<TensorInfo> tensors;

  const MetadataValue* find(std::string_view key) const {
    const auto* entry = metadata_index.find(metadata, key);
    return entry ? &entry->value : nullptr;
  }
};

/// GgufParseError, naming the place. Time and memory are linear in the header, whatever the header's counts say.
Result<GgufPart> parse_gguf(std::span<const std::uint8_t> file);

}  // namespace mlx_native
