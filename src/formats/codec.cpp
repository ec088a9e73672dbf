#include "formats/codec.h"

#include <algorithm>
#include <cstring>

#include "formats/decode.h"
#include "formats/encode.h"

namespace mlx_native {
namespace {

// Blocks pass through an aligned buffer of this many values.
constexpr std::uint64_t kChunkValues = 1024;

template <class F>
struct Chunk {
  static constexpr std::uint64_t kBlocks = kChunkValues / F::kValues;
  typename F::Block blocks[kBlocks];
};

template <class F>
void decode(const std::uint8_t* bytes, std::uint64_t n_blocks, float* values) {
  Chunk<F> chunk;
  while (n_blocks > 0) {
    const std::uint64_t n = std::min(n_blocks, chunk.kBlocks);
    std::memcpy(chunk.blocks, bytes, n * sizeof(typename F::Block));
    for (std::uint64_t i = 0; i < n; ++i) decode_block<F>(chunk.blocks[i], values + i * F::kValues);
    bytes += n * sizeof(typename F::Block);
    values += n * F::kValues;
    n_blocks -= n;
  }
}

template <class F>
void encode(const float* values, const float* importance, std::uint64_t n_blocks, std::uint8_t* bytes) {
  Chunk<F> chunk;
  while (n_blocks > 0) {
    const std::uint64_t n = std::min(n_blocks, chunk.kBlocks);
    encode_blocks<F>(values, importance, n, chunk.blocks);
    std::memcpy(bytes, chunk.blocks, n * sizeof(typename F::Block));
    bytes += n * sizeof(typename F::Block);
    values += n * F::kValues;
    if (importance) importance += n * F::kValues;
    n_blocks -= n;
  }
}

constexpr Codec kCodecs[] = {
#define MLXN_FORMAT(Name, ggml_name) {GgmlType::Name, Name::kValues, sizeof(Name::Block), decode<Name>, encode<Name>},
    MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
};

}  // namespace

const Codec* find_codec(GgmlType type) {
  const Codec* codec = std::ranges::find(kCodecs, type, &Codec::type);
  return codec == std::end(kCodecs) ? nullptr : codec;
}

}  // namespace mlx_native
