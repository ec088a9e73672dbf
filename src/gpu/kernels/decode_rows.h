// Whole tensors and rows of a table as F32.
#pragma once

#include "args/embedding.h"
#include "gpu/kernels/decode.h"

namespace mlx_native::gpu {

/// Values per step of a thread.
template <class Format>
K_FN constexpr int values_per_step() {
  return Format::kPlain ? 1 : 4;
}

/// Decodes step `i` of the blocks at `blocks` to its place in `output`.
template <class Format>
K_FN void decode_step(const K_GLOBAL uint8_t* blocks, K_GLOBAL float* output, uint64_t i) {
  if constexpr (Format::kPlain) {
    output[i] = Format::value(load_as<typename Format::Block>(blocks + i * sizeof(typename Format::Block)));
  } else {
    constexpr int kWords = Format::kValues / 4;
    using Block = typename Format::Block;
    const Four four = decode_word<Format>(reinterpret_cast<const K_GLOBAL Block*>(blocks)[i / kWords], int(i % kWords));
    K_UNROLL
    for (int j = 0; j < 4; ++j) output[4 * i + j] = four.v[j];
  }
}

template <class Format, class Thread>
K_FN void dequantize(Thread t, K_CONST const DequantizeArgs& a, K_SHARED float*) {
  const uint64_t steps = a.n_blocks * uint64_t(Format::kValues / values_per_step<Format>());
  const uint64_t stride = uint64_t(t.groups()) * t.threads_in_group();
  for (uint64_t i = uint64_t(t.group()) * t.threads_in_group() + t.thread_in_group(); i < steps; i += stride)
    decode_step<Format>(a.blocks, a.output, i);
}

/// A group per token.
template <class Format, class Thread>
K_FN void embedding_gather(Thread t, K_CONST const EmbeddingArgs& a, K_SHARED float*) {
  const uint32_t steps = a.dim / values_per_step<Format>();
  for (uint64_t token = t.group(); token < a.n_tokens; token += t.groups()) {
    const uint32_t id = a.ids[token];
    K_GLOBAL float* const row = a.output + token * a.dim;
    if (id < a.n_rows) {
      const K_GLOBAL uint8_t* const blocks = a.table + id * a.row_bytes;
      for (uint32_t i = t.thread_in_group(); i < steps; i += t.threads_in_group()) decode_step<Format>(blocks, row, i);
    } else {
      for (uint32_t i = t.thread_in_group(); i < a.dim; i += t.threads_in_group()) row[i] = bits_to_float(0x7fc00000u);
    }
  }
}

}  // namespace mlx_native::gpu
