#pragma once

#include <cstdint>
#include <vector>

#include "mlx_native/gguf.h"

namespace mlxn {

/// The keys `tokenizer.ggml.*` of a byte-level BPE with `count` tokens, laid out as Qwen's: `words` (at least the 256
/// bytes) made by merges, then <|endoftext|>, <|im_start|>, <|im_end|>, then unused ones. Words are runs of up to four
/// lower-case letters, alone or behind a space, so that any text is encoded, plain English in about a third as many
/// tokens as it has letters. `count` is at least words + 3.
std::vector<mlx_native::GgufFile::MetadataEntry> synthetic_vocabulary(std::uint32_t count, std::uint32_t words);

}  // namespace mlxn
