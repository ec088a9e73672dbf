// What the file readers accept at most. A file above a limit is malformed by definition; each limit stands well above
// what real models use.
#pragma once

#include <cstdint>

namespace mlx_native::limits {

// GGUF
inline constexpr std::uint64_t kMaxString = 16u << 20;     // the longest in use are chat templates, some 100 KiB
inline constexpr std::uint64_t kMaxArray = 1u << 27;       // vocabularies and merges stay below 2^20
inline constexpr std::uint64_t kMaxKey = 65535;            // GGUF specification
inline constexpr std::uint64_t kMaxTensorName = 63;        // ggml's GGML_MAX_NAME counts the terminating zero
inline constexpr std::uint32_t kMaxDims = 4;               // ggml's GGML_MAX_DIMS
inline constexpr std::uint64_t kMaxMetadata = 1u << 20;    // entries; models have about 50
inline constexpr std::uint64_t kMaxTensors = 1u << 20;     // in all parts; the largest models have some thousands
inline constexpr std::uint64_t kMaxAlignment = 64u << 10;  // the largest page size; 32 is the default
inline constexpr std::uint64_t kMaxSplits = 1000;          // each part is an open file: processes may have 1024

// safetensors
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  // as the format's own library
inline constexpr std::uint64_t kMaxSafetensorsRank = 64;             // NumPy's

}  // namespace mlx_native::limits
