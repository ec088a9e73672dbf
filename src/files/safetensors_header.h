#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "files/name_index.h"
#include "mlx_native/safetensors.h"

namespace mlx_native {

/// The header of a safetensors file:
///
///   u64 length of the header, header in JSON (begins with '{', may end in spaces), data
///   {"__metadata__": {"key": "value", ...}, "name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]},
///   ...}
///
/// Offsets count from the start of the data; here they are turned into those from the start of the file. Together the
/// tensors cover the data exactly: no gap, no overlap, no tail. Names and keys are unique.
struct SafetensorsHeader {
  struct Entry {
    std::string key, value;
  };
  using EntryIndex = NameIndex<Entry, &Entry::key>;
  using TensorIndex = NameIndex<SafetensorsInfo, &SafetensorsInfo::name>;

  std::vector<Entry> metadata;
  EntryIndex metadata_index;
  std::vector<SafetensorsInfo> tensors;  ///< in order of their offsets
  TensorIndex tensor_index;
};

/// SafetensorsError, naming the place. Time and memory are linear in the header.
Result<SafetensorsHeader> parse_safetensors(std::span<const std::uint8_t> file);

}  // namespace mlx_native
