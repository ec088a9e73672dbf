// Softmax attention: many queries by tiles, few by a stream of the cache, in chunks; any other number by a stream.
#include "cpu/generic/attention_stream.h"
#include "cpu/generic/attention_tile.h"
#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

/// Rows of a KV head from which on tiles are faster.
constexpr uint64_t kLeastTileRows = 16;

bool suits_tiles(const void* args) {
  const auto& a = *static_cast<const AttentionArgs*>(args);
  return rows_of(a) >= kLeastTileRows && rows_that_fit(rows_of(a), a.head_dim) > 0;
}

/// Tiles of one KV head after the other, whose cache stays near, and of each those first that see the most.
template <class T>
void attend_by_tiles(const AttentionArgs& a, Team& team) {
  const uint64_t rows = rows_of(a);
  uint64_t size = rows_that_fit(rows, a.head_dim);
  // Smaller ones where there are too few to go round. Which rows share a tile does not matter to any of them.
  const uint64_t wanted = team.count() > 1 ? 3 * team.count() : 1;
  while (size > 2 * kLanes && (rows + size - 1) / size * a.n_kv_heads < wanted)
    size = (size / 2 + kLanes - 1) / kLanes * kLanes;
  const uint64_t tiles = (rows + size - 1) / size;
  team.share(tiles * a.n_kv_heads, {1}, [&](Range items) {
    for (uint64_t item = items.begin; item < items.end; ++item) {
      const uint64_t tile = tiles - 1 - item % tiles, first = tile * size;
      const uint64_t count = rows - first < size ? rows - first : size;
      AttentionTile<T>(a, item / tiles, first, count, reinterpret_cast<float*>(team.local())).run();
    }
  });
}

void by_tiles(const AttentionArgs& a, Team& team) {
  a.f16 ? attend_by_tiles<uint16_t>(a, team) : attend_by_tiles<float>(a, team);
}

template <bool Chunks>
void by_stream(const AttentionArgs& a, Team& team) {
  a.f16 ? stream_attention<uint16_t, Chunks>(a, team) : stream_attention<float, Chunks>(a, team);
}

bool suits_chunks(const void* args) { return rows_of(*static_cast<const AttentionArgs*>(args)) <= kItemRows; }

}  // namespace

void add_attention_rows(const RowSink& sink) {
  sink.add(sink.to,
           {Op::Attention, nullptr, GgmlType{}, entry<AttentionArgs, by_tiles>, nullptr, "_tiles", suits_tiles});
  sink.add(sink.to, {Op::Attention, nullptr, GgmlType{}, entry<AttentionArgs, by_stream<true>>,
                     scratch<AttentionArgs, Partials::bytes>, "_chunks", suits_chunks});
  add<AttentionArgs, by_stream<false>>(sink, Op::Attention);
}

}  // namespace mlx_native::cpu::MLXN_ISA
